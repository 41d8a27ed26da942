"""Calls of convolutions: strides, paddings, dilations, groups, transposed ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import Draw, bias_of, spatial


def _weight(draw: Draw, shape: tuple[int, ...]) -> T | C:
    how = draw(st.sampled_from(["float", "sparse", "sparse", "input"]))
    return T(shape) if how == "input" else C(shape, how)


def _channels(draw: Draw) -> tuple[int, int, int]:
    """Groups, inputs, outputs: plain, grouped, depthwise with and without a multiplier."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    each_in = draw(st.sampled_from([1, 2, 3]))
    each_out = draw(st.sampled_from([1, 2, 3]))
    return groups, groups * each_in, groups * each_out


def _note(groups: int, channels: int, weight: T | C) -> str:
    """Depthwise kernels, of one channel in and out per group, are exact."""
    alone = groups == channels and weight.shape[1] == 1
    depthwise = alone and isinstance(weight, C) and weight.kind == "float"
    return "groups" if groups > 1 and not depthwise else ""


def _each(draw: Draw, rank: int, low: int, high: int) -> list[int]:
    return [draw(st.integers(low, high)) for _ in range(rank)]


def _batch(draw: Draw) -> tuple[int, ...]:
    return draw(st.sampled_from([(), (1,), (2,), (3,)]))


@st.composite
def conv(draw: Draw, rank: int, named: bool) -> Call:
    """x [N, I, ...] or [I, ...], weight [O, I/groups, ...]."""
    groups, inputs, outputs = _channels(draw)
    kernel, dilation = _each(draw, rank, 1, 3), _each(draw, rank, 1, 2)
    x = T((*_batch(draw), inputs, *spatial(draw, rank, 5 if not named else 3)))
    weight = _weight(draw, (outputs, inputs // groups, *kernel))
    bias = bias_of(draw, outputs, weight)
    stride = _each(draw, rank, 1, 2)
    padding: Any = [draw(st.integers(0, k - 1)) for k in kernel]
    if named:
        padding = draw(st.sampled_from(["same", "valid"]))
        if padding == "same":
            stride = [1] * rank
        else:
            dilation = [1] * rank
    rest = [stride, padding, dilation, groups]
    if groups == 1:
        rest = rest[: draw(st.integers(2 if named else 0, 4))]
    return Call((x, weight, bias, *rest), note=_note(groups, outputs, weight))


@st.composite
def conv_transpose(draw: Draw, rank: int) -> Call:
    """x [N, I, ...] or [I, ...], weight [I, O/groups, ...]."""
    groups, inputs, outputs = _channels(draw)
    kernel, stride = _each(draw, rank, 1, 3), _each(draw, rank, 1, 2)
    x = T((*_batch(draw), inputs, *spatial(draw, rank, 3, 4)))
    weight = _weight(draw, (inputs, outputs // groups, *kernel))
    bias = bias_of(draw, outputs, weight)
    padding = [draw(st.integers(0, (k - 1) // 2)) for k in kernel]
    more = [draw(st.integers(0, s - 1)) for s in stride]
    rest = [stride, padding, more, groups, _each(draw, rank, 1, 2)]
    if groups == 1:
        rest = rest[: draw(st.sampled_from([0, 1, 2, 3, 5]))]
    return Call((x, weight, bias, *rest), note=_note(groups, inputs * weight.shape[1], weight))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{
        f"aten.conv{d}d.{o}": conv(d, o == "padding")
        for d in (1, 2, 3)
        for o in ("default", "padding")
    },
    "aten.conv_transpose1d.default": conv_transpose(1),
    "aten.conv_transpose2d.input": conv_transpose(2),
    "aten.conv_transpose3d.input": conv_transpose(3),
}
