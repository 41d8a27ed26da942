"""The gated network's arithmetic and activations, element by element."""

from __future__ import annotations

from typing import Any

from torch import fx

from igc.audit.translation.gated import Gated, Rule, told
from igc.audit.translation.idioms import (
    cast_between,
)
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import Known
from igc.program.dtypes import is_float


def _arithmetic(sign: float) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        by = sign * float(args.get("alpha", 1))
        return at.on.add(at.operand(args["self"]), at.operand(args["other"]), by=[1.0, by])

    return rule


def _rsub(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    by = [-float(args["alpha"]), 1.0]
    return at.on.add(at.operand(args["self"]), at.operand(args["other"]), by=by)


def _mul(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return at.on.mul(at.operand(args["self"]), at.operand(args["other"]))


def _div(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    made = at.on.div(at.operand(args["self"]), at.operand(args["other"]))
    mode = args.get("rounding_mode")
    if mode not in (None, "floor"):
        raise NotShown(f"division rounded by {mode}")
    return at.on.apply("floor", made) if mode else made


def _where(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return at.on.where(*(at.operand(args[k]) for k in ("condition", "self", "other")))


def _masked_fill(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return at.on.where(*(at.operand(args[k]) for k in ("mask", "value", "self")))


def _lerp(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    start, end, weight = (at.operand(args[k]) for k in ("self", "end", "weight"))
    return at.on.add(start, at.on.mul(weight, at.on.add(end, start, by=[1.0, -1.0])))


def _silu(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.operand(args["self"])
    return at.on.mul(x, at.on.apply("sigmoid", x))


def _pow(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.operand(args["self"])
    exponent = args["exponent"]
    if exponent == 2:
        return at.on.mul(x, x)
    return at.on.apply("pow", x, at.operand(exponent))


def _square(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.operand(args["self"])
    return at.on.mul(x, x)


def _rsqrt(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return at.on.apply("reciprocal", at.on.apply("sqrt", at.operand(args["self"])))


def _clamp(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    low, high = args.get("min", args.get("min_val")), args.get("max", args.get("max_val"))
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        x = at.operand(args["self"])
        x = x if low is None else at.on.apply("max", x, at.operand(low))
        return x if high is None else at.on.apply("min", x, at.operand(high))
    bounds = tuple(None if b is None else told(b) for b in (low, high))
    return at.on.apply("clip", at.operand(args["self"]), attributes=bounds)


def _relu6(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return at.on.apply("clip", at.operand(args["self"]), attributes=(0.0, 6.0))


def _prelu(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x, weight = at.tensor(args["self"]), at.numbers(args["weight"])
    shape = [-1, *[1] * max(len(x.axes) - 2, 0)] if weight.ndim == 1 else weight.shape
    return at.on.apply("prelu", x, Known(weight.reshape(shape)))


def _softplus(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x, beta = at.operand(args["self"]), float(args["beta"])
    if beta == 1:
        return at.on.apply("softplus", x)
    return at.on.scale(at.on.apply("softplus", at.on.scale(x, beta)), 1 / beta)


def _log_sigmoid(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.operand(args["self"])
    return at.on.scale(at.on.apply("softplus", at.on.scale(x, -1.0)), -1.0)


def _glu(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    axis = args["dim"] % len(x.axes)
    half = int(x.size(axis)) // 2
    a, b = at.on.slice(x, axis, 0, half), at.on.slice(x, axis, half, None)
    return at.on.mul(a, at.on.apply("sigmoid", b))


def _cast(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    value = args["self"]
    before = at.kinds[value].dtype if isinstance(value, fx.Node) else None
    after = at.kinds[node].dtype
    if at.wider and is_float(before) and is_float(after):
        return at.operand(value)
    return cast_between(at.on, at.operand(value), before, after, at.source.dtype)


def _same(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    if args.get("train"):
        raise NotShown("dropout")
    return at.operand(args.get("self", args.get("input")))


RULES: dict[str, Rule] = {
    "add": _arithmetic(1.0),
    "sub": _arithmetic(-1.0),
    "rsub": _rsub,
    "mul": _mul,
    "div": _div,
    "where": _where,
    "masked_fill": _masked_fill,
    "lerp": _lerp,
    "silu": _silu,
    "pow": _pow,
    "square": _square,
    "rsqrt": _rsqrt,
    "relu6": _relu6,
    "prelu": _prelu,
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "glu": _glu,
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max", "hardtanh"), _clamp),
    "_to_copy": _cast,
    "type_as": _cast,
    **dict.fromkeys(("clone", "contiguous", "alias", "detach", "dropout"), _same),
}
