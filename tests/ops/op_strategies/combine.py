"""Calls of sums with constant coefficients: gates and mixes in every spelling."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import NUMBERS, POSITIVE, Draw, Shape, operand, shapes, swapped

GATES = ("mask", "mask", "float", "sparse")
TWO_AXES = "coefficients"


def gate(draw: Draw, shape: Shape, kind: str) -> C:
    """A constant that varies along one axis at most; boolean masks and numbers."""
    axis = draw(st.integers(0, len(shape) - 1))
    line = [n if a == axis else 1 for a, n in enumerate(shape)]
    first = draw(st.integers(0, axis))
    return C(tuple(line[first:]), kind)


def factor(draw: Draw, shape: Shape, kinds: tuple[str, ...] = GATES) -> tuple[T | C, str]:
    """What an operand is combined with, and the limit that it touches."""
    if draw(st.booleans()):
        return gate(draw, shape, draw(st.sampled_from(kinds))), ""
    found = operand(draw, shape, kinds[0])
    return found, TWO_AXES if isinstance(found, C) else ""


@st.composite
def two(draw: Draw, name: str, kinds: tuple[str, ...] = GATES) -> Call:
    """a op b, one of them perhaps constant, a number, or the same tensor again."""
    base, overload = name.split(".")
    shape = draw(shapes())
    options = {"alpha": draw(NUMBERS)} if base in {"add", "sub", "rsub"} else {}
    if draw(st.booleans()):
        options = {}
    a, note = T(shape, name="x"), ""
    if overload == "Scalar":
        return Call((a, draw(NUMBERS)), options)
    b: T | C
    how = draw(st.sampled_from(["factor", "small", "again"]))
    if how == "again" and base != "div":
        b = a
    elif how == "small":
        # The tensor is the smaller operand.
        b, note = C(shape, kinds[0]), TWO_AXES
        a = T(tuple(n if draw(st.booleans()) else 1 for n in shape))
    else:
        b, note = factor(draw, shape, kinds)
    if base == "div":
        return Call((a, b), options, note)
    return Call((a, b) if draw(st.booleans()) else (b, a), options, note)


@st.composite
def rounded(draw: Draw, overload: str) -> Call:
    """div(a, b, rounding_mode): two tensors, or a tensor and a number."""
    shape, mode = draw(shapes()), {"rounding_mode": draw(st.sampled_from(["floor", "trunc"]))}
    x = T(shape, "positive")
    if overload == "Scalar_mode":
        return Call((x, draw(POSITIVE)), mode)
    return Call(swapped(draw, x, operand(draw, shape, "positive")), mode)


@st.composite
def where(draw: Draw, overload: str) -> Call:
    """where(mask, a, b) with constant masks, masks from the input, numbers."""
    shape = draw(shapes())
    mask, note = factor(draw, shape, ("bool",))
    a: T | C | float
    b: T | C | float
    a, b = operand(draw, shape), operand(draw, shape)
    if overload in {"ScalarSelf", "Scalar"}:
        a = draw(NUMBERS)
    if overload in {"ScalarOther", "Scalar"}:
        b = draw(NUMBERS) + 5.0
    if not any(isinstance(v, T) for v in (mask, a, b)):
        mask, note = T(shape, "bool"), ""
    plain = all(isinstance(v, float) or v == T(shape) for v in (a, b))
    return Call((mask, a, b), note=note if plain and not note else TWO_AXES)


@st.composite
def lerp(draw: Draw, overload: str) -> Call:
    """lerp(a, b, w)."""
    shape = draw(shapes())
    weight, note = (draw(NUMBERS), "") if overload == "Scalar" else factor(draw, shape)
    a, b = T(shape), operand(draw, shape)
    return Call((a, b, weight), note=note if b == T(shape) else TWO_AXES)


@st.composite
def masked_fill(draw: Draw, overload: str) -> Call:
    """masked_fill(a, mask, value)."""
    shape = draw(shapes())
    mask, note = factor(draw, shape, ("bool",))
    value: T | C | float = draw(st.sampled_from([0.0, 2.0, float("-inf")]))
    if overload == "Tensor":
        value = C(()) if draw(st.booleans()) else T(())
        note = note or (TWO_AXES if isinstance(value, T) else "")
    return Call((T(shape), mask, value), note=note)


@st.composite
def addcmul(draw: Draw) -> Call:
    """addcmul(a, b, c, value)."""
    shape = draw(shapes())
    b, c = factor(draw, shape), factor(draw, shape)
    scale = {"value": draw(NUMBERS)} if draw(st.booleans()) else {}
    return Call((T(shape), b[0], c[0]), scale, TWO_AXES)


@st.composite
def addcdiv(draw: Draw) -> Call:
    """addcdiv(a, b, c, value)."""
    shape = draw(shapes())
    scale = {"value": draw(NUMBERS)} if draw(st.booleans()) else {}
    return Call((*(T(shape, "positive"), operand(draw, shape, "positive"),
                   operand(draw, shape, "positive")),), scale)  # fmt: skip


@st.composite
def neg(draw: Draw) -> Call:
    """-a."""
    return Call((T(draw(shapes())),))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{
        f"aten.{name}.{overload}": two(f"{name}.{overload}")
        for name in ("add", "sub", "rsub", "mul")
        for overload in ("Tensor", "Scalar")
    },
    "aten.div.Tensor": two("div.Tensor", ("positive",)),
    "aten.div.Scalar": two("div.Scalar"),
    **{f"aten.div.{o}": rounded(o) for o in ("Tensor_mode", "Scalar_mode")},
    "aten.neg.default": neg(),
    **{f"aten.where.{o}": where(o) for o in ("self", "ScalarSelf", "ScalarOther", "Scalar")},
    **{f"aten.lerp.{o}": lerp(o) for o in ("Scalar", "Tensor")},
    **{f"aten.masked_fill.{o}": masked_fill(o) for o in ("Scalar", "Tensor")},
    "aten.addcmul.default": addcmul(),
    "aten.addcdiv.default": addcdiv(),
}
