"""Comparisons and logic, element by element: what is true of numbers, and what follows from it."""

from __future__ import annotations

from igc.ops.facts import Rule
from igc.ops.pointwise import pointwise

UNARY = ("logical_not", "bitwise_not", "isnan", "isinf", "isfinite")
OTHER = (
    "eq.Tensor", "eq.Scalar", "ne.Tensor", "ne.Scalar", "lt.Tensor", "lt.Scalar", "le.Tensor",
    "le.Scalar", "gt.Tensor", "gt.Scalar", "ge.Tensor", "ge.Scalar", "logical_and.default",
    "logical_or.default", "logical_xor.default", "bitwise_and.Tensor", "bitwise_or.Tensor",
    "bitwise_xor.Tensor",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **{f"aten.{name}.default": pointwise for name in UNARY},
    **{f"aten.{name}": pointwise for name in OTHER},
}
