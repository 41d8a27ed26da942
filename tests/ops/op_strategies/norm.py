"""Calls of normalisations in evaluation mode."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import Draw, Shape, per_channel, shapes

EPS = st.sampled_from([1e-5, 1e-3])


def _affine(draw: Draw, width: int) -> tuple[T | C | None, T | C | None]:
    """Weight and bias, each perhaps missing; where weights are exactly zero the bias is known."""
    weight = draw(st.sampled_from(["sparse", "float", "input", "none"]))
    scale = {"input": T((width,)), "none": None}.get(weight, C((width,), weight))
    bias = C((width,)) if weight == "sparse" else per_channel(draw, width)
    return scale, bias if draw(st.booleans()) else None


def _image(draw: Draw, least: int = 1) -> Shape:
    shape = draw(shapes(2, 5))
    return (shape[0], shape[1], *(max(n, least) for n in shape[2:]))


@st.composite
def batch_norm(draw: Draw) -> Call:
    """batch_norm(x, weight, bias, mean, var, training=False, ...)."""
    shape = _image(draw)
    weight, bias = _affine(draw, shape[1])
    mean, var = per_channel(draw, shape[1]), per_channel(draw, shape[1], "positive")
    if draw(st.integers(0, 4)) == 0:  # over the batch's own statistics
        shape = (max(shape[0], 2), *shape[1:])
        if draw(st.booleans()):
            return Call((T(shape), weight, bias, mean, var, True, 0.1, 1e-5, False), {}, "training")
        return Call((T(shape), weight, bias, None, None, True, 0.1, draw(EPS), False))
    return Call((T(shape), weight, bias, mean, var, False, 0.1, draw(EPS), False))


@st.composite
def instance_norm(draw: Draw) -> Call:
    """Over each image's own statistics, or over running ones."""
    shape = (*_image(draw, 2), 3)[:5]
    weight, bias = _affine(draw, shape[1])
    if draw(st.booleans()):
        args = (T(shape), weight, bias, None, None, True, 0.1, draw(EPS), False)
        return Call(args)
    mean, var = per_channel(draw, shape[1]), per_channel(draw, shape[1], "positive")
    return Call((T(shape), weight, bias, mean, var, False, 0.1, draw(EPS), False))


@st.composite
def group_norm(draw: Draw) -> Call:
    """group_norm(x, groups, weight, bias, eps)."""
    groups, each = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rest = draw(shapes(0, 2, 2))
    width = groups * each
    if each == 1 and not rest:
        rest = (2,)
    weight, bias = _affine(draw, width)
    args = (T((draw(st.integers(1, 3)), width, *rest)), groups, weight, bias, draw(EPS))
    zero = isinstance(weight, C) and weight.kind == "sparse"
    return Call(
        args[: draw(st.sampled_from([2, 3, 4, 5]))], note="zero scale" if zero else "blocks"
    )


@st.composite
def layer_norm(draw: Draw, rms: bool) -> Call:
    """The last one or more axes are normalised."""
    shape = draw(shapes(1, 4, 2))
    last = shape[-draw(st.integers(1, len(shape))) :]
    scale = C(last, draw(st.sampled_from(["float", "sparse"])))
    note = "zero scale" if scale.kind == "sparse" else ""
    weight = draw(st.sampled_from([None, T(last), scale]))
    bias = draw(st.sampled_from([None, T(last), C(last)]))
    if rms:
        return Call((T(shape), list(last), weight, draw(EPS))[: draw(st.integers(2, 4))], note=note)
    args = (T(shape), list(last), weight, bias, draw(EPS))
    return Call(args[: draw(st.integers(2, 5))], note=note)


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.batch_norm.default": batch_norm(),
    "aten.layer_norm.default": layer_norm(False),
    "aten.rms_norm.default": layer_norm(True),
    "aten.group_norm.default": group_norm(),
    "aten.instance_norm.default": instance_norm(),
}
