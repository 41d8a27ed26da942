"""ONNX for rarer functions of numbers, written with commoner ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Unsupported
from igc.emit.onnx.lower.pointwise import Rule
from igc.program.schema import bind


def _of_one(function: Callable[[Lowering, str, torch.dtype, dict[str, Any]], str]) -> Rule:
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


def _finite(at: Lowering, x: str, dtype: torch.dtype, _: dict[str, Any]) -> str:
    return at.op("Less", at.op("Abs", x), at.scalar(math.inf, dtype))


def _infinite(at: Lowering, x: str, dtype: torch.dtype, _: dict[str, Any]) -> str:
    return at.op("Equal", at.op("Abs", x), at.scalar(math.inf, dtype))


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


def _shrink(soft: bool) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        by = float(args["lambd"])
        bias = by if soft else 0.0
        return at.op("Shrink", at.operand(args["self"], at.dtype(node)), lambd=by, bias=bias)

    return rule


def _numbers_for_nan(at: Lowering, x: str, dtype: torch.dtype, args: dict[str, Any]) -> str:
    limits = torch.finfo(dtype)
    low = limits.min if args["neginf"] is None else args["neginf"]
    high = limits.max if args["posinf"] is None else args["posinf"]
    for found, value in ((-math.inf, low), (math.inf, high)):
        equal = at.op("Equal", x, at.scalar(found, dtype))
        x = at.op("Where", equal, at.scalar(value, dtype), x)
    return at.op("Where", at.op("IsNaN", x), at.scalar(args["nan"] or 0.0, dtype), x)


def _scaled(by: float) -> Rule:
    return _of_one(lambda at, x, dtype, _: at.op("Mul", x, at.scalar(by, dtype)))


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


def _bucketize(at: Lowering, node: fx.Node) -> str:
    """How many boundaries lie below, or at most at, each number."""
    args = bind(node)
    x, edges = (
        (args["self"], args["boundaries"])
        if "boundaries" in args
        else (args["self"], args["sorted_sequence"])
    )
    right = args["right"] or args.get("side") == "right"
    if args.get("sorter") is not None or at.rank(edges) != 1:
        raise Unsupported("boundaries of their own for every row")
    dtype = at.common(x, edges)
    column = at.op("Unsqueeze", at.operand(x, dtype), at.graph.integers([-1], "axes"))
    kind = "LessOrEqual" if right else "Less"
    below = at.op("Cast", at.op(kind, at.operand(edges, dtype), column), to=at.dtype(node))
    return at.op("ReduceSum", below, at.graph.integers([-1], "axes"), keepdims=0)


def _nonzero_count(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    x, dim = args["self"], args["dim"]
    asked = [dim] if isinstance(dim, int) else list(dim or range(at.rank(x)))
    truth = at.op("Cast", at.operand(x, torch.bool), to=torch.int64)
    axes = at.graph.integers(sorted(at.axis(x, a) for a in asked), "axes")
    return at.op("ReduceSum", truth, axes, keepdims=0)


def _cross(at: Lowering, node: fx.Node) -> str:
    args, dtype = bind(node), at.dtype(node)
    axis = at.axis(node, args["dim"])
    turns = [at.graph.integers(order, "index") for order in ([1, 2, 0], [2, 0, 1])]
    a, b = (
        [at.op("Gather", at.operand(args[k], dtype), turn, axis=axis) for turn in turns]
        for k in ("self", "other")
    )
    return at.op("Sub", at.op("Mul", a[0], b[1]), at.op("Mul", a[1], b[0]))


RULES: dict[str, Rule] = {
    "isfinite": _of_one(_finite), "isinf": _of_one(_infinite), "trunc": _of_one(_trunc),
    "frac": _of_one(_frac), "logit": _of_one(_logit), "nan_to_num": _of_one(_numbers_for_nan),
    "hardshrink": _shrink(False), "softshrink": _shrink(True),
    "deg2rad": _scaled(math.pi / 180), "rad2deg": _scaled(180 / math.pi),
    "xlogy": _of_two(_xlogy), "hypot": _of_two(_hypot), "atan2": _of_two(_atan2),
    "fmax": _of_two(_not_nan("Max")), "fmin": _of_two(_not_nan("Min")), "fmod": _fmod,
    "bucketize": _bucketize, "searchsorted": _bucketize, "count_nonzero": _nonzero_count,
    "linalg_cross": _cross,
}  # fmt: skip
