"""ONNX for operations that work element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Unsupported
from igc.program.schema import bind

Rule = Callable[[Lowering, fx.Node], Lowered]

UNARY = {
    "abs": "Abs", "acos": "Acos", "asin": "Asin", "atan": "Atan", "ceil": "Ceil", "cos": "Cos",
    "cosh": "Cosh", "erf": "Erf", "exp": "Exp", "floor": "Floor", "hardswish": "HardSwish",
    "log": "Log", "logical_not": "Not", "mish": "Mish", "neg": "Neg", "reciprocal": "Reciprocal",
    "relu": "Relu", "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin",
    "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh", "isnan": "IsNaN",
}  # fmt: skip
FLOAT_RESULT = frozenset(UNARY) - {"abs", "ceil", "floor", "logical_not", "neg", "relu", "round",
                                   "sign", "isnan"}  # fmt: skip
COMPARE = {
    "eq": ("Equal", False), "ne": ("Equal", True), "lt": ("Less", False),
    "le": ("LessOrEqual", False), "gt": ("Greater", False), "ge": ("GreaterOrEqual", False),
}  # fmt: skip
LOGIC = {
    "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "__and__": "And",
    "__or__": "Or", "__xor__": "Xor", "bitwise_and": "And", "bitwise_or": "Or",
    "bitwise_xor": "Xor",
}  # fmt: skip


def _self(at: Lowering, node: fx.Node) -> tuple[str, torch.dtype]:
    """The operand, cast to the dtype of the result."""
    value, dtype = bind(node)["self"], at.dtype(node)
    return at.operand(value, dtype), dtype


def _unary(name: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        value = bind(node)["self"]
        if name == "round" and bind(node).get("decimals"):
            raise Unsupported("rounding to decimals")
        source = at.dtype(value)
        if name in FLOAT_RESULT:
            return at.op(UNARY[name], at.operand(value, at.dtype(node)))
        if name == "logical_not":
            return at.op("Not", at.cast(at(value), source, torch.bool))
        if name == "isnan" or source != torch.bool:
            return at.op(UNARY[name], at(value))
        raise Unsupported("a bool operand")

    return rule


def _arithmetic(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        left, right, alpha = args["self"], args["other"], args.get("alpha", 1)
        mode = args.get("rounding_mode")
        dtype = at.dtype(node)
        if dtype == torch.bool or (mode is not None and not dtype.is_floating_point):
            raise Unsupported(f"{kind} of {dtype}")
        other = at.operand(right, dtype)
        if alpha != 1:
            other = at.op("Mul", other, at.scalar(alpha, dtype))
        result = at.op(kind, at.operand(left, dtype), other)
        if mode == "floor":
            return at.op("Floor", result)
        if mode == "trunc":
            raise Unsupported("division with truncation")
        return result

    return rule


def _rsub(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    if args["alpha"] != 1:
        value = at.op("Mul", value, at.scalar(args["alpha"], dtype))
    return at.op("Sub", at.operand(args["other"], dtype), value)


def _pow(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    dtype = at.dtype(node)
    base, exponent = args["self"], args["exponent"]
    if exponent == 2:
        value = at.operand(base, dtype)
        return at.op("Mul", value, value)
    return at.op("Pow", at.operand(base, dtype), at.operand(exponent, dtype))


def _square(at: Lowering, node: fx.Node) -> str:
    value, _ = _self(at, node)
    return at.op("Mul", value, value)


def _compare(name: str) -> Rule:
    kind, negate = COMPARE[name]

    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        left, right = args["self"], args["other"]
        dtype = at.common(left, right)
        if dtype == torch.bool and kind != "Equal":
            dtype = torch.int64
        result = at.op(kind, at.operand(left, dtype), at.operand(right, dtype))
        return at.op("Not", result) if negate else result

    return rule


def _logic(name: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        if at.dtype(node) != torch.bool:
            raise Unsupported("bits of integers")
        operands = [args["self"], args["other"]]
        return at.op(LOGIC[name], *(at.operand(v, torch.bool) for v in operands))

    return rule


def _bitwise_not(at: Lowering, node: fx.Node) -> str:
    if at.dtype(node) != torch.bool:
        raise Unsupported("bits of integers")
    return at.op("Not", at(bind(node)["self"]))


def _extreme(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        dtype = at.dtype(node)
        return at.op(kind, at.operand(args["self"], dtype), at.operand(args["other"], dtype))

    return rule


def _clamp(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    low, high = args.get("min"), args.get("max")
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        if low is not None:
            value = at.op("Max", value, at.operand(low, dtype))
        return value if high is None else at.op("Min", value, at.operand(high, dtype))
    bounds = [None if b is None else at.scalar(b, dtype) for b in (low, high)]
    return at.op("Clip", value, *bounds)


def _hardtanh(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    bounds = (args["min_val"], args["max_val"])
    return at.op("Clip", value, *(at.scalar(b, dtype) for b in bounds))


def _relu6(at: Lowering, node: fx.Node) -> str:
    value, dtype = _self(at, node)
    return at.op("Clip", value, at.scalar(0, dtype), at.scalar(6, dtype))


def _where(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    dtype = at.dtype(node)
    left, right = at.operand(args["self"], dtype), at.operand(args["other"], dtype)
    return at.op("Where", at.operand(args["condition"], torch.bool), left, right)


def _masked_fill(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    return at.op("Where", at(args["mask"]), at.operand(args["value"], dtype), value)


def _lerp(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    start, dtype = _self(at, node)
    step = at.op("Sub", at.operand(args["end"], dtype), start)
    return at.op("Add", start, at.op("Mul", at.operand(args["weight"], dtype), step))


def _addcmul(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        value, dtype = _self(at, node)
        left, right = (at.operand(args[k], dtype) for k in ("tensor1", "tensor2"))
        product = at.op(kind, left, right)
        if args["value"] != 1:
            product = at.op("Mul", product, at.scalar(args["value"], dtype))
        return at.op("Add", value, product)

    return rule


def _floor_divide(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    other = at.operand(args["other"], dtype)
    if not dtype.is_floating_point:  # Div rounds towards zero; what Mod leaves is never negative
        value = at.op("Sub", value, at.op("Mod", value, other))
        return at.op("Div", value, other)
    return at.op("Floor", at.op("Div", value, other))


def _remainder(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    other = at.operand(args["other"], dtype)
    if not dtype.is_floating_point:
        return at.op("Mod", value, other)
    return at.op("Sub", value, at.op("Mul", at.op("Floor", at.op("Div", value, other)), other))


def _silu(at: Lowering, node: fx.Node) -> str:
    value, _ = _self(at, node)
    return at.op("Mul", value, at.op("Sigmoid", value))


def _attributed(kind: str, **names: str) -> Rule:
    """An ONNX op whose attributes are the call's arguments under other names."""

    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        value, _ = _self(at, node)
        return at.op(kind, value, **{k: float(args[v]) for k, v in names.items()})

    return rule


def _hardsigmoid(at: Lowering, node: fx.Node) -> str:
    return at.op("HardSigmoid", _self(at, node)[0], alpha=1 / 6, beta=0.5)


def _selu(at: Lowering, node: fx.Node) -> str:
    alpha, gamma = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return at.op("Selu", _self(at, node)[0], alpha=alpha, gamma=gamma)


def _elu(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    if args["scale"] != 1 or args["input_scale"] != 1:
        raise Unsupported("elu with a scale")
    return at.op("Elu", _self(at, node)[0], alpha=float(args["alpha"]))


def _gelu(at: Lowering, node: fx.Node) -> str:
    return at.op("Gelu", _self(at, node)[0], approximate=bind(node)["approximate"])


def _softplus(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    beta = args["beta"]
    if beta == 1:
        return at.op("Softplus", value)
    scaled = at.op("Softplus", at.op("Mul", value, at.scalar(beta, dtype)))
    return at.op("Div", scaled, at.scalar(beta, dtype))


def _log_sigmoid(at: Lowering, node: fx.Node) -> str:
    value, _ = _self(at, node)
    return at.op("Neg", at.op("Softplus", at.op("Neg", value)))


def _threshold(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = _self(at, node)
    above = at.op("Greater", value, at.scalar(args["threshold"], dtype))
    return at.op("Where", above, value, at.scalar(args["value"], dtype))


def _prelu(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, weight = args["self"], args["weight"]
    slope = at(weight)
    if at.rank(weight) == 1 and at.rank(value) > 2:
        width = at.fact(weight).dims[0]
        shape = [width] + [1] * (at.rank(value) - 2)
        constant = at.tensor_of(weight)
        slope = (
            at.graph.tensor(constant.reshape(shape), f"{weight.target}_column")
            if constant is not None
            else at.op("Reshape", slope, at.graph.integers(shape))
        )
    return at.op("PRelu", at(value), slope)


def _glu(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    left, right = at.graph.ops("Split", at(args["self"]), axis=axis, num_outputs=2, count=2)
    return at.op("Mul", left, at.op("Sigmoid", right))


def _rsqrt(at: Lowering, node: fx.Node) -> str:
    return at.op("Reciprocal", at.op("Sqrt", _self(at, node)[0]))


def _shifted(kind: str, before: float) -> Rule:
    """log1p and its like: add a number first."""

    def rule(at: Lowering, node: fx.Node) -> str:
        value, dtype = _self(at, node)
        return at.op(kind, at.op("Add", value, at.scalar(before, dtype)))

    return rule


def _log_base(base: float) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        value, dtype = _self(at, node)
        return at.op("Div", at.op("Log", value), at.scalar(math.log(base), dtype))

    return rule


def _cast(at: Lowering, node: fx.Node) -> str:
    value: Any = bind(node)["self"]
    return at.cast(at(value), at.dtype(value), at.dtype(node))


def _fill(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value = at.operand(args["value"], at.dtype(node))
    return at.op("Expand", value, at.shape_of(args["self"]))


RULES: dict[str, Rule] = {
    **{name: _unary(name) for name in UNARY},
    **{name: _compare(name) for name in COMPARE},
    **{name: _logic(name) for name in LOGIC},
    "add": _arithmetic("Add"), "sub": _arithmetic("Sub"), "mul": _arithmetic("Mul"),
    "div": _arithmetic("Div"), "rsub": _rsub, "pow": _pow, "square": _square,
    "bitwise_not": _bitwise_not, "maximum": _extreme("Max"), "minimum": _extreme("Min"),
    "clamp": _clamp, "clip": _clamp, "clamp_min": _clamp, "clamp_max": _clamp,
    "hardtanh": _hardtanh, "relu6": _relu6, "where": _where, "masked_fill": _masked_fill,
    "lerp": _lerp, "addcmul": _addcmul("Mul"), "addcdiv": _addcmul("Div"),
    "floor_divide": _floor_divide, "remainder": _remainder, "silu": _silu,
    "leaky_relu": _attributed("LeakyRelu", alpha="negative_slope"),
    "celu": _attributed("Celu", alpha="alpha"), "hardsigmoid": _hardsigmoid, "selu": _selu,
    "elu": _elu, "gelu": _gelu, "softplus": _softplus, "log_sigmoid": _log_sigmoid,
    "threshold": _threshold, "prelu": _prelu, "glu": _glu, "rsqrt": _rsqrt,
    "log1p": _shifted("Log", 1.0), "log2": _log_base(2.0), "log10": _log_base(10.0),
    "_to_copy": _cast, "type_as": _cast, "fill": _fill,
}  # fmt: skip
