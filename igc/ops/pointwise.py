"""Element by element: activations, comparisons, arithmetic between two unknown tensors."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, tensor_args
from igc.ops.relations import Pointwise, Relation, Survives

UNARY = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish",
    "hardsigmoid", "hardtanh", "softplus", "sigmoid", "tanh", "log_sigmoid", "softsign",
    "tanhshrink", "hardshrink", "softshrink", "threshold", "abs", "sqrt", "rsqrt", "square",
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "floor", "ceil", "round",
    "trunc", "frac", "sign", "sgn", "reciprocal", "logical_not", "bitwise_not", "isnan", "isinf",
    "isfinite", "clamp", "clamp_min", "clamp_max", "nan_to_num", "logit", "neg", "_to_copy",
)  # fmt: skip
BINARY = (
    "div", "pow", "maximum", "minimum", "fmod", "remainder", "atan2", "floor_divide", "fmax",
    "fmin", "hypot", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
    "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "prelu_same", "xlogy",
    "where", "clamp", "lerp", "addcmul", "addcdiv", "masked_fill", "add", "sub", "rsub",
)  # fmt: skip
OVERLOADS = ("default", "Tensor", "Scalar", "Tensor_Scalar", "Tensor_Tensor", "Tensor_mode",
             "Scalar_mode", "self", "ScalarSelf", "ScalarOther", "decimals")  # fmt: skip


def written(node: fx.Node, facts: Facts, *, survives: Survives = "any",
            annihilates: bool = False) -> Pointwise:  # fmt: skip
    """The node as a pointwise op with broadcasting operands."""
    out = facts.shape(node)
    operands = tuple(facts.follow(n, out) for n in tensor_args(node, facts))
    return Pointwise(operands, survives=survives, annihilates=annihilates)


def pointwise(node: fx.Node, facts: Facts) -> Relation:
    """Any op that treats every element alone; known channels are known after it too."""
    return written(node, facts)


def product(node: fx.Node, facts: Facts) -> Relation:
    """A product: a zero operand makes the result zero."""
    return written(node, facts, annihilates=True)


def prelu(node: fx.Node, facts: Facts) -> Relation:
    """prelu(x, weight): the weight is per channel (axis 1) or a single number."""
    out = facts.shape(node)
    x, weight = tensor_args(node, facts)
    operands = (facts.follow(x, out),)
    if facts.shape(weight) != (1,) and len(out) > 1:
        from igc.ops.relations import Follow

        return Pointwise((*operands, Follow(weight, (1,))))
    from igc.ops.relations import Follow

    return Pointwise((*operands, Follow(weight, (None,))), survives="any")


RULES: dict[str, Rule] = {
    **{f"aten.{name}.{overload}": pointwise for name in (*UNARY, *BINARY) for overload in OVERLOADS},
    **{f"aten.mul.{overload}": product for overload in OVERLOADS},
    "aten.prelu.default": prelu,
}
