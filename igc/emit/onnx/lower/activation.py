"""ONNX for activations."""

from __future__ import annotations

from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
from igc.emit.onnx.lower.pointwise import of_self, plain
from igc.program.schema import bind

PLAIN = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "mish": "Mish",
}  # fmt: skip


def _relu6(at: Lowering, node: fx.Node) -> str:
    value, dtype = of_self(at, node)
    return at.op("Clip", value, at.scalar(0, dtype), at.scalar(6, dtype))


def _hardtanh(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = of_self(at, node)
    bounds = (args["min_val"], args["max_val"])
    return at.op("Clip", value, *(at.scalar(b, dtype) for b in bounds))


def _silu(at: Lowering, node: fx.Node) -> str:
    value, _ = of_self(at, node)
    return at.op("Mul", value, at.op("Sigmoid", value))


def _attributed(kind: str, **names: str) -> Rule:
    """An ONNX op whose attributes are the call's arguments under other names."""

    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        value, _ = of_self(at, node)
        return at.op(kind, value, **{k: float(args[v]) for k, v in names.items()})

    return rule


def _hardsigmoid(at: Lowering, node: fx.Node) -> str:
    return at.op("HardSigmoid", of_self(at, node)[0], alpha=1 / 6, beta=0.5)


def _selu(at: Lowering, node: fx.Node) -> str:
    alpha, gamma = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return at.op("Selu", of_self(at, node)[0], alpha=alpha, gamma=gamma)


def _elu(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    if args["scale"] != 1 or args["input_scale"] != 1:
        raise Unsupported("elu with a scale")
    return at.op("Elu", of_self(at, node)[0], alpha=float(args["alpha"]))


def _gelu(at: Lowering, node: fx.Node) -> str:
    return at.op("Gelu", of_self(at, node)[0], approximate=bind(node)["approximate"])


def _softplus(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = of_self(at, node)
    beta = args["beta"]
    if beta == 1:
        return at.op("Softplus", value)
    scaled = at.op("Softplus", at.op("Mul", value, at.scalar(beta, dtype)))
    return at.op("Div", scaled, at.scalar(beta, dtype))


def _log_sigmoid(at: Lowering, node: fx.Node) -> str:
    value, _ = of_self(at, node)
    return at.op("Neg", at.op("Softplus", at.op("Neg", value)))


def _threshold(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = of_self(at, node)
    above = at.op("Greater", value, at.scalar(args["threshold"], dtype))
    return at.op("Where", above, value, at.scalar(args["value"], dtype))


def _prelu(at: Lowering, node: fx.Node) -> str:
    value, weight = bind(node)["self"], bind(node)["weight"]
    behind = max(at.rank(value) - 2, 0) if at.rank(weight) == 1 else 0
    return at.op("PRelu", at(value), at.column(weight, behind))


def _glu(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    left, right = at.graph.ops("Split", at(args["self"]), axis=axis, num_outputs=2, count=2)
    return at.op("Mul", left, at.op("Sigmoid", right))


def _shrink(soft: bool) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        by = float(args["lambd"])
        bias = by if soft else 0.0
        return at.op("Shrink", at.operand(args["self"], at.dtype(node)), lambd=by, bias=bias)

    return rule


RULES: dict[str, Rule] = {
    **{name: plain(kind, of_float=kind != "Relu") for name, kind in PLAIN.items()},
    "hardtanh": _hardtanh,
    "relu6": _relu6,
    "silu": _silu,
    "leaky_relu": _attributed("LeakyRelu", alpha="negative_slope"),
    "celu": _attributed("Celu", alpha="alpha"),
    "hardsigmoid": _hardsigmoid,
    "selu": _selu,
    "elu": _elu,
    "gelu": _gelu,
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "threshold": _threshold,
    "prelu": _prelu,
    "glu": _glu,
    "hardshrink": _shrink(False),
    "softshrink": _shrink(True),
}
