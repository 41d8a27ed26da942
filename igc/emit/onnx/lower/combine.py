"""ONNX for sums with coefficients: arithmetic, gates, masks."""

from __future__ import annotations

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
from igc.emit.onnx.lower.pointwise import of_self, plain
from igc.program.schema import bind


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
    value, dtype = of_self(at, node)
    if args["alpha"] != 1:
        value = at.op("Mul", value, at.scalar(args["alpha"], dtype))
    return at.op("Sub", at.operand(args["other"], dtype), value)


def _where(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    dtype = at.dtype(node)
    left, right = at.operand(args["self"], dtype), at.operand(args["other"], dtype)
    return at.op("Where", at.operand(args["condition"], torch.bool), left, right)


def _masked_fill(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, dtype = of_self(at, node)
    return at.op("Where", at(args["mask"]), at.operand(args["value"], dtype), value)


def _lerp(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    start, dtype = of_self(at, node)
    step = at.op("Sub", at.operand(args["end"], dtype), start)
    return at.op("Add", start, at.op("Mul", at.operand(args["weight"], dtype), step))


def _added_product(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        value, dtype = of_self(at, node)
        left, right = (at.operand(args[k], dtype) for k in ("tensor1", "tensor2"))
        product = at.op(kind, left, right)
        if args["value"] != 1:
            product = at.op("Mul", product, at.scalar(args["value"], dtype))
        return at.op("Add", value, product)

    return rule


RULES: dict[str, Rule] = {
    "add": _arithmetic("Add"),
    "sub": _arithmetic("Sub"),
    "mul": _arithmetic("Mul"),
    "div": _arithmetic("Div"),
    "rsub": _rsub,
    "neg": plain("Neg"),
    "where": _where,
    "masked_fill": _masked_fill,
    "lerp": _lerp,
    "addcmul": _added_product("Mul"),
    "addcdiv": _added_product("Div"),
}
