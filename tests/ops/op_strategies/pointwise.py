"""Calls of functions of numbers, element by element."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from op_calls import C, Call, T

from igc.ops.pointwise import OTHER, UNARY
from op_strategies.common import NUMBERS, POSITIVE, Draw, operand, shapes, swapped

KINDS = {
    "acosh": "above",
    **dict.fromkeys(("sqrt", "rsqrt", "log", "log2", "log10", "log1p", "reciprocal"), "positive"),
    **dict.fromkeys(("asin", "acos", "atanh", "logit"), "unit"),
}
# The arguments after the tensor, for the ops that take more.
MORE: dict[str, st.SearchStrategy[list[Any]]] = {
    "clamp": st.sampled_from([[-0.5], [-0.5, 0.5], [None, 0.5]]),
    "clamp_min": st.tuples(NUMBERS).map(list),
    "clamp_max": st.tuples(NUMBERS).map(list),
    "logit": st.sampled_from([[], [0.1]]),
    "nan_to_num": st.sampled_from([[], [0.0, 1.0, -1.0]]),
}
OF_POSITIVE = {"pow", "fmod", "remainder", "floor_divide", "xlogy"}


@st.composite
def unary(draw: Draw, name: str) -> Call:
    """One tensor of any rank; numbers after it."""
    x = T(draw(shapes()), KINDS.get(name, "float"))
    kwargs: dict[str, Any] = {}
    if name == "_to_copy":
        kwargs = {"dtype": draw(st.sampled_from([torch.float32, torch.float64]))}
    return Call((x, *draw(MORE.get(name, st.just([])))), kwargs)


@st.composite
def other(draw: Draw, name: str) -> Call:
    """Two operands that broadcast, or a tensor and a number."""
    base, overload = name.split(".")
    kind, shape = "positive" if base in OF_POSITIVE else "float", draw(shapes())
    x = T(shape, kind)
    if base == "round":
        return Call((x,), {"decimals": draw(st.integers(0, 2))})
    if base.startswith("clamp"):
        ends: list[Any] = [operand(draw, shape), operand(draw, shape)]
        if base == "clamp":
            missing = draw(st.sampled_from([None, 0, 1]))
            if missing is not None:
                ends[missing] = None
        both = isinstance(ends[0], C) and isinstance(ends[1], C) and base == "clamp"
        args = (x, *ends) if base == "clamp" else (x, ends[0])
        return Call(args, note="coefficients" if both else "")
    if name == "pow.Scalar":
        return Call((draw(st.sampled_from([0.5, 2.0, 3.0])), x))
    if "Scalar" in overload:
        return Call((x, draw(POSITIVE)))
    if base in {"hypot", "atan2", "pow", "xlogy"} and draw(st.integers(0, 5)) == 0:
        return Call((T(shape, kind, "x"), T(shape, kind, "x")))
    return Call(swapped(draw, x, operand(draw, shape, kind)))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{f"aten.{name}.default": unary(name) for name in UNARY},
    **{f"aten.{name}": other(name) for name in OTHER},
}
