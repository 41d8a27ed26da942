"""Element by element: activations, comparisons, arithmetic between two unknown tensors."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, tensor_args
from igc.ops.relations import Follow, Pointwise, Survives

# Real overloads only: a test compares this table with the ops torch has.
UNARY = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish",
    "hardsigmoid", "hardtanh", "softplus", "sigmoid", "tanh", "log_sigmoid", "hardshrink",
    "softshrink", "threshold", "abs", "sqrt", "rsqrt", "square", "exp", "exp2", "expm1", "log",
    "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
    "asinh", "acosh", "atanh", "erf", "erfc", "floor", "ceil", "round", "trunc", "frac", "sign",
    "sgn", "reciprocal", "logical_not", "bitwise_not", "isnan", "isinf", "isfinite", "clamp",
    "clamp_min", "clamp_max", "nan_to_num", "logit", "_to_copy",
)  # fmt: skip
OTHER = (
    "clamp.Tensor", "clamp_min.Tensor", "clamp_max.Tensor", "round.decimals",
    "div.Tensor_mode", "div.Scalar_mode", "pow.Scalar", "pow.Tensor_Scalar", "pow.Tensor_Tensor",
    "maximum.default", "minimum.default", "fmax.default", "fmin.default", "fmod.Tensor",
    "fmod.Scalar", "remainder.Tensor", "remainder.Scalar", "atan2.default",
    "floor_divide.default", "hypot.default", "eq.Tensor", "eq.Scalar", "ne.Tensor", "ne.Scalar",
    "lt.Tensor", "lt.Scalar", "le.Tensor", "le.Scalar", "gt.Tensor", "gt.Scalar", "ge.Tensor",
    "ge.Scalar", "logical_and.default", "logical_or.default", "logical_xor.default",
    "bitwise_and.Tensor", "bitwise_or.Tensor", "bitwise_xor.Tensor", "xlogy.Tensor",
    "addcdiv.default",
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


def prelu(node: fx.Node, facts: Facts) -> Pointwise:
    """prelu(x, weight): the weight is per channel (axis 1) or a single number."""
    out = facts.shape(node)
    x, weight = tensor_args(node, facts)
    operands = (facts.follow(x, out),)
    if facts.shape(weight) != (1,) and len(out) > 1:
        return Pointwise((*operands, Follow(weight, (1,))), survives="any")
    return Pointwise((*operands, Follow(weight, (None,))), survives="any")


RULES: dict[str, Rule] = {
    **{f"aten.{name}.default": pointwise for name in UNARY},
    **{f"aten.{name}": pointwise for name in OTHER},
    "aten.prelu.default": prelu,
}
