"""Functions of numbers, element by element: roots, logarithms, powers, bounds, types."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, tensor_args
from igc.ops.relations import Pointwise, Survives

UNARY = (
    "abs", "sqrt", "rsqrt", "square", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf",
    "erfc", "floor", "ceil", "round", "trunc", "frac", "sign", "sgn", "reciprocal", "clamp",
    "clamp_min", "clamp_max", "nan_to_num", "logit", "_to_copy",
)  # fmt: skip
OTHER = (
    "clamp.Tensor", "clamp_min.Tensor", "clamp_max.Tensor", "round.decimals", "pow.Scalar",
    "pow.Tensor_Scalar", "pow.Tensor_Tensor", "maximum.default", "minimum.default", "fmax.default",
    "fmin.default", "fmod.Tensor", "fmod.Scalar", "remainder.Tensor", "remainder.Scalar",
    "atan2.default", "floor_divide.default", "hypot.default", "xlogy.Tensor",
)  # fmt: skip


def written(node: fx.Node, facts: Facts, *, survives: Survives = "any",
            annihilates: bool = False) -> Pointwise:  # fmt: skip
    """The node as a pointwise op with broadcasting operands."""
    out = facts.shape(node)
    operands = tuple(facts.follow(n, out) for n in tensor_args(node, facts))
    return Pointwise(operands, survives=survives, annihilates=annihilates)


def pointwise(node: fx.Node, facts: Facts) -> Pointwise:
    """Any op that treats every element alone; known channels are known after it too."""
    return written(node, facts)


RULES: dict[str, Rule] = {
    **{f"aten.{name}.default": pointwise for name in UNARY},
    **{f"aten.{name}": pointwise for name in OTHER},
}
