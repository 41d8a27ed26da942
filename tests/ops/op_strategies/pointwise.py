"""Calls of the ops that treat every element alone."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from op_calls import C, Call, T

from igc.ops.pointwise import OTHER, UNARY
from op_strategies.common import NUMBERS, Draw, operand, shapes

KINDS = {
    "acosh": "above",
    **dict.fromkeys(("sqrt", "rsqrt", "log", "log2", "log10", "log1p", "reciprocal"), "positive"),
    **dict.fromkeys(("asin", "acos", "atanh", "logit"), "unit"),
    **dict.fromkeys(("logical_not", "bitwise_not"), "bool"),
}
POSITIVE = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0])
# The arguments after the tensor, for the ops that take more.
MORE: dict[str, st.SearchStrategy[list[Any]]] = {
    "leaky_relu": st.lists(POSITIVE, max_size=1),
    "elu": st.lists(POSITIVE, max_size=3),
    "celu": st.lists(POSITIVE, max_size=1),
    "hardtanh": st.sampled_from([[], [-2.0, 0.5]]),
    "softplus": st.lists(POSITIVE, max_size=1),
    "hardshrink": st.lists(POSITIVE, max_size=1),
    "softshrink": st.lists(POSITIVE, max_size=1),
    "threshold": st.tuples(NUMBERS, NUMBERS).map(list),
    "clamp": st.sampled_from([[-0.5], [-0.5, 0.5], [None, 0.5]]),
    "clamp_min": st.tuples(NUMBERS).map(list),
    "clamp_max": st.tuples(NUMBERS).map(list),
    "logit": st.sampled_from([[], [0.1]]),
    "nan_to_num": st.sampled_from([[], [0.0, 1.0, -1.0]]),
}


@st.composite
def unary(draw: Draw, name: str) -> Call:
    """One tensor of any rank; numbers after it."""
    x = T(draw(shapes()), KINDS.get(name, "float"))
    kwargs: dict[str, Any] = {}
    if name == "gelu":
        kwargs = {"approximate": draw(st.sampled_from(["none", "tanh"]))}
    if name == "_to_copy":
        kwargs = {"dtype": draw(st.sampled_from([torch.float32, torch.float64]))}
    return Call((x, *draw(MORE.get(name, st.just([])))), kwargs)


def _kind(base: str, overload: str) -> str:
    if base.startswith(("logical", "bitwise")):
        return "bool"
    if base in {"eq", "ne", "lt", "le", "gt", "ge"}:
        return "digits"
    positive = {"pow", "fmod", "remainder", "floor_divide", "div", "xlogy", "addcdiv"}
    return "positive" if base in positive else "float"


@st.composite
def other(draw: Draw, name: str) -> Call:
    """Two operands that broadcast, or a tensor and a number."""
    base, overload = name.split(".")
    kind, shape = _kind(base, overload), draw(shapes())
    mode = {"rounding_mode": draw(st.sampled_from(["floor", "trunc"]))} if "mode" in name else {}
    x = T(shape, kind)
    if base == "round":
        return Call((x,), {"decimals": draw(st.integers(0, 2))})
    if base == "addcdiv":
        scale = {"value": draw(NUMBERS)} if draw(st.booleans()) else {}
        return Call((x, operand(draw, shape, kind), operand(draw, shape, kind)), scale)
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
        number = float(draw(st.integers(-1, 1))) if kind == "digits" else draw(POSITIVE)
        return Call((x, number), mode)
    if base in {"hypot", "atan2", "pow", "xlogy"} and draw(st.integers(0, 5)) == 0:
        return Call((T(shape, kind, "x"), T(shape, kind, "x")), mode)
    b = operand(draw, shape, kind)
    note = "coefficients" if kind in {"bool", "digits"} and isinstance(b, C) else ""
    return Call(_swapped(draw, x, b), mode, note)


def _swapped(draw: Draw, a: T, b: T | C) -> tuple[T | C, T | C]:
    return (a, b) if draw(st.booleans()) else (b, a)


@st.composite
def prelu(draw: Draw) -> Call:
    """A slope per channel of axis 1, or a single one."""
    shape = draw(shapes(1, 4))
    width = shape[1] if len(shape) > 1 and draw(st.booleans()) else 1
    return Call((T(shape), T((width,)) if draw(st.booleans()) else C((width,))))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{f"aten.{name}.default": unary(name) for name in UNARY},
    **{f"aten.{name}": other(name) for name in OTHER},
    "aten.prelu.default": prelu(),
}
