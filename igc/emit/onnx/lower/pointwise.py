"""ONNX for functions of numbers, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Unsupported
from igc.program.schema import argument, bind

KEEPS = {"abs": "Abs", "ceil": "Ceil", "floor": "Floor", "sign": "Sign"}
OF_FLOATS = {
    "acos": "Acos", "asin": "Asin", "atan": "Atan", "cos": "Cos", "cosh": "Cosh", "erf": "Erf",
    "exp": "Exp", "log": "Log", "reciprocal": "Reciprocal", "sin": "Sin", "sinh": "Sinh",
    "sqrt": "Sqrt", "tan": "Tan",
}  # fmt: skip


def of_self(at: Lowering, node: fx.Node) -> tuple[str, torch.dtype]:
    """The operand, cast to the dtype of the result."""
    value, dtype = bind(node)["self"], at.dtype(node)
    return at.operand(value, dtype), dtype


def plain(kind: str, *, of_float: bool = False) -> Rule:
    """The rule of an op that ONNX has as it is; `of_float`: integers are cast to floats first."""

    def rule(at: Lowering, node: fx.Node) -> str:
        value = argument(node, "self")
        if of_float:
            return at.op(kind, at.operand(value, at.dtype(node)))
        if at.dtype(value) == torch.bool:
            raise Unsupported("a bool operand")
        return at.op(kind, at(value))

    return rule


def _round(at: Lowering, node: fx.Node) -> Lowered:
    if bind(node).get("decimals"):
        raise Unsupported("rounding to decimals")
    return plain("Round")(at, node)


def of_one(function: Callable[[Lowering, str, torch.dtype, dict[str, Any]], str]) -> Rule:
    """The rule of a function of one float, in terms of its ONNX value, type and arguments."""

    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        source, dtype = args["self"], at.dtype(args["self"])
        if not dtype.is_floating_point:
            dtype = at.dtype(node)
        if not dtype.is_floating_point:
            raise Unsupported(f"of {at.dtype(source)}")
        return function(at, at.operand(source, dtype), dtype, args)

    return rule


def _of_two(function: Callable[[Lowering, str, str, torch.dtype], str]) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args, dtype = bind(node), at.dtype(node)
        if not dtype.is_floating_point:
            raise Unsupported(f"of {dtype}")
        return function(
            at, at.operand(args["self"], dtype), at.operand(args["other"], dtype), dtype
        )

    return rule


def _pow(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    dtype = at.dtype(node)
    base, exponent = args["self"], args["exponent"]
    if exponent == 2:
        value = at.operand(base, dtype)
        return at.op("Mul", value, value)
    return at.op("Pow", at.operand(base, dtype), at.operand(exponent, dtype))


def _square(at: Lowering, node: fx.Node) -> str:
    value, _ = of_self(at, node)
    return at.op("Mul", value, value)


def _extreme(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        dtype = at.dtype(node)
        return at.op(kind, at.operand(args["self"], dtype), at.operand(args["other"], dtype))

    return rule


def _clamp(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = of_self(at, node)
    low, high = args.get("min"), args.get("max")
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        if low is not None:
            value = at.op("Max", value, at.operand(low, dtype))
        return value if high is None else at.op("Min", value, at.operand(high, dtype))
    bounds = [None if b is None else at.scalar(b, dtype) for b in (low, high)]
    return at.op("Clip", value, *bounds)


def _floor_divide(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = of_self(at, node)
    other = at.operand(args["other"], dtype)
    if not dtype.is_floating_point:  # Div rounds towards zero; what Mod leaves is never negative
        value = at.op("Sub", value, at.op("Mod", value, other))
        return at.op("Div", value, other)
    return at.op("Floor", at.op("Div", value, other))


def _remainder(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = of_self(at, node)
    other = at.operand(args["other"], dtype)
    if not dtype.is_floating_point:
        return at.op("Mod", value, other)
    return at.op("Sub", value, at.op("Mul", at.op("Floor", at.op("Div", value, other)), other))


def _rsqrt(at: Lowering, node: fx.Node) -> str:
    return at.op("Reciprocal", at.op("Sqrt", of_self(at, node)[0]))


def _shifted(kind: str, before: float) -> Rule:
    """log1p and its like: add a number first."""

    def rule(at: Lowering, node: fx.Node) -> str:
        value, dtype = of_self(at, node)
        return at.op(kind, at.op("Add", value, at.scalar(before, dtype)))

    return rule


def _log_base(base: float) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        value, dtype = of_self(at, node)
        return at.op("Div", at.op("Log", value), at.scalar(math.log(base), dtype))

    return rule


def _cast(at: Lowering, node: fx.Node) -> str:
    value: Any = bind(node)["self"]
    return at.cast(at(value), at.dtype(value), at.dtype(node))


def _truncated(at: Lowering, x: str, dtype: torch.dtype) -> str:
    down = at.op("Floor", x)
    return at.op("Where", at.op("Less", x, at.scalar(0, dtype)), at.op("Ceil", x), down)


def _trunc(at: Lowering, x: str, dtype: torch.dtype, _: dict[str, Any]) -> str:
    return _truncated(at, x, dtype)


def _frac(at: Lowering, x: str, dtype: torch.dtype, _: dict[str, Any]) -> str:
    return at.op("Sub", x, _truncated(at, x, dtype))


def _logit(at: Lowering, x: str, dtype: torch.dtype, args: dict[str, Any]) -> str:
    if args["eps"] is not None:
        x = at.op("Clip", x, at.scalar(args["eps"], dtype), at.scalar(1 - args["eps"], dtype))
    return at.op("Log", at.op("Div", x, at.op("Sub", at.scalar(1, dtype), x)))


def _numbers_for_nan(at: Lowering, x: str, dtype: torch.dtype, args: dict[str, Any]) -> str:
    limits = torch.finfo(dtype)
    low = limits.min if args["neginf"] is None else args["neginf"]
    high = limits.max if args["posinf"] is None else args["posinf"]
    for found, value in ((-math.inf, low), (math.inf, high)):
        equal = at.op("Equal", x, at.scalar(found, dtype))
        x = at.op("Where", equal, at.scalar(value, dtype), x)
    return at.op("Where", at.op("IsNaN", x), at.scalar(args["nan"] or 0.0, dtype), x)


def _scaled(by: float) -> Rule:
    return of_one(lambda at, x, dtype, _: at.op("Mul", x, at.scalar(by, dtype)))


def _xlogy(at: Lowering, x: str, y: str, dtype: torch.dtype) -> str:
    """x log(y), and 0 where x is 0, unless y is no number."""
    zero = at.scalar(0, dtype)
    rest = at.op("Where", at.op("IsNaN", y), y, zero)
    return at.op(
        "Where", at.op("Equal", x, zero), rest, at.op("Mul", x, at.op("Log", y))
    )  # fmt: skip


def _hypot(at: Lowering, x: str, y: str, dtype: torch.dtype) -> str:
    """Scaled by the larger one, so that no square overflows."""
    a, b = at.op("Abs", x), at.op("Abs", y)
    large, small, zero = at.op("Max", a, b), at.op("Min", a, b), at.scalar(0, dtype)
    some = at.op("Where", at.op("Equal", large, zero), at.scalar(1, dtype), large)
    ratio = at.op("Div", small, some)
    square = at.op("Add", at.op("Mul", ratio, ratio), at.scalar(1, dtype))
    return at.op("Mul", large, at.op("Sqrt", square))


def _atan2(at: Lowering, y: str, x: str, dtype: torch.dtype) -> str:
    """atan(y / x), turned by half a circle left of the origin; above and below it, a quarter."""
    zero, half = at.scalar(0, dtype), at.scalar(math.pi, dtype)
    upright = at.op("Equal", x, zero)
    divisor = at.op("Where", upright, at.scalar(1, dtype), x)
    angle = at.op("Atan", at.op("Div", y, divisor))
    below = at.op("Less", y, zero)
    turned = at.op("Where", below, at.op("Sub", angle, half), at.op("Add", angle, half))
    beside = at.op("Where", at.op("Less", x, zero), turned, angle)
    quarter = at.op("Mul", at.op("Sign", y), at.scalar(math.pi / 2, dtype))
    return at.op("Where", upright, quarter, beside)


def _fmod(at: Lowering, node: fx.Node) -> str:
    args, dtype = bind(node), at.dtype(node)
    return at.op("Mod", at.operand(args["self"], dtype), at.operand(args["other"], dtype), fmod=1)


def _not_nan(kind: str) -> Callable[[Lowering, str, str, torch.dtype], str]:
    """fmax, fmin: the other one where one is no number."""

    def function(at: Lowering, x: str, y: str, _: torch.dtype) -> str:
        best = at.op(kind, x, y)
        best = at.op("Where", at.op("IsNaN", x), y, best)
        return at.op("Where", at.op("IsNaN", y), x, best)

    return function


RULES: dict[str, Rule] = {
    **{name: plain(kind) for name, kind in KEEPS.items()},
    **{name: plain(kind, of_float=True) for name, kind in OF_FLOATS.items()},
    "round": _round,
    "pow": _pow,
    "square": _square,
    "maximum": _extreme("Max"),
    "minimum": _extreme("Min"),
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "rsqrt": _rsqrt,
    "log1p": _shifted("Log", 1.0),
    "log2": _log_base(2.0),
    "log10": _log_base(10.0),
    "_to_copy": _cast,
    "type_as": _cast,
    "trunc": of_one(_trunc),
    "frac": of_one(_frac),
    "logit": of_one(_logit),
    "nan_to_num": of_one(_numbers_for_nan),
    "deg2rad": _scaled(math.pi / 180),
    "rad2deg": _scaled(180 / math.pi),
    "xlogy": _of_two(_xlogy),
    "hypot": _of_two(_hypot),
    "atan2": _of_two(_atan2),
    "fmax": _of_two(_not_nan("Max")),
    "fmin": _of_two(_not_nan("Min")),
    "fmod": _fmod,
}
