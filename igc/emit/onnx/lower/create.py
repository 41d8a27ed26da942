"""ONNX for tensors made from sizes and numbers."""

from __future__ import annotations

from typing import Any

from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule
from igc.program.schema import bind


def _full(value: Any) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        fill = at.operand(args["fill_value"] if value is None else value, at.dtype(node))
        if "size" in args:
            return at.op("Expand", fill, at.shape(args["size"])) if args["size"] else fill
        return at.op("Expand", fill, at.shape_of(args["self"]))

    return rule


def _scalar_tensor(at: Lowering, node: fx.Node) -> str:
    return at.operand(bind(node)["s"], at.dtype(node))


def _arange(at: Lowering, node: fx.Node) -> str:
    args, dtype = bind(node), at.dtype(node)
    start, step = args.get("start", 0), args.get("step", 1)
    ends = [at.operand(v, dtype) for v in (start, args["end"], step)]
    return at.op("Range", *ends)


def _fill(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value = at.operand(args["value"], at.dtype(node))
    return at.op("Expand", value, at.shape_of(args["self"]))


RULES: dict[str, Rule] = {
    "zeros": _full(0),
    "ones": _full(1),
    "full": _full(None),
    "zeros_like": _full(0),
    "ones_like": _full(1),
    "full_like": _full(None),
    "new_zeros": _full(0),
    "new_ones": _full(1),
    "new_full": _full(None),
    "arange": _arange,
    "scalar_tensor": _scalar_tensor,
    "fill": _fill,
}
