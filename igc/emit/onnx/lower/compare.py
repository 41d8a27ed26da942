"""ONNX for comparisons and logic."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
from igc.emit.onnx.lower.pointwise import of_one
from igc.program.schema import argument, bind

COMPARE = {
    "eq": ("Equal", False), "ne": ("Equal", True), "lt": ("Less", False),
    "le": ("LessOrEqual", False), "gt": ("Greater", False), "ge": ("GreaterOrEqual", False),
}  # fmt: skip
LOGIC = {
    "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "__and__": "And",
    "__or__": "Or", "__xor__": "Xor", "bitwise_and": "And", "bitwise_or": "Or",
    "bitwise_xor": "Xor",
}  # fmt: skip


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


def _not(at: Lowering, node: fx.Node) -> str:
    value = argument(node, "self")
    return at.op("Not", at.cast(at(value), at.dtype(value), torch.bool))


def _isnan(at: Lowering, node: fx.Node) -> str:
    return at.op("IsNaN", at(argument(node, "self")))


def _bitwise_not(at: Lowering, node: fx.Node) -> str:
    if at.dtype(node) != torch.bool:
        raise Unsupported("bits of integers")
    return at.op("Not", at(argument(node, "self")))


def _finite(at: Lowering, x: str, dtype: torch.dtype, _: dict[str, Any]) -> str:
    return at.op("Less", at.op("Abs", x), at.scalar(math.inf, dtype))


def _infinite(at: Lowering, x: str, dtype: torch.dtype, _: dict[str, Any]) -> str:
    return at.op("Equal", at.op("Abs", x), at.scalar(math.inf, dtype))


RULES: dict[str, Rule] = {
    **{name: _compare(name) for name in COMPARE},
    **{name: _logic(name) for name in LOGIC},
    "logical_not": _not,
    "bitwise_not": _bitwise_not,
    "isnan": _isnan,
    "isfinite": of_one(_finite),
    "isinf": of_one(_infinite),
}
