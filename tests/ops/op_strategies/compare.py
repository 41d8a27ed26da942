"""Calls of comparisons and logic."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import C, Call, T

from igc.ops.compare import OTHER, UNARY
from op_strategies.common import Draw, operand, shapes, swapped


@st.composite
def unary(draw: Draw, name: str) -> Call:
    """One tensor of any rank."""
    return Call((T(draw(shapes()), "float" if name.startswith("is") else "bool"),))


@st.composite
def two(draw: Draw, name: str) -> Call:
    """Two operands that broadcast, or a tensor and a number."""
    kind = "bool" if name.startswith(("logical", "bitwise")) else "digits"
    shape = draw(shapes())
    if name.endswith("Scalar"):
        return Call((T(shape, kind), float(draw(st.integers(-1, 1)))))
    b = operand(draw, shape, kind)
    return Call(swapped(draw, T(shape, kind), b), note="coefficients" if isinstance(b, C) else "")


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{f"aten.{name}.default": unary(name) for name in UNARY},
    **{f"aten.{name}": two(name) for name in OTHER},
}
