"""ONNX for operations that move, cut, join or repeat entries."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Unsupported
from igc.emit.onnx.lower.pointwise import Rule
from igc.program.schema import bind

END = 2**63 - 1


def _reshape(at: Lowering, node: fx.Node) -> str:
    return at.reshape(bind(node)["self"], node)


def _permute(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    rank = at.rank(args["self"])
    return at.op("Transpose", at(args["self"]), perm=[d % rank for d in args["dims"]])


def _transpose(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    order = list(range(at.rank(args["self"])))
    if "dim0" in args:
        a, b = (at.axis(args["self"], args[k]) for k in ("dim0", "dim1"))
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return at.op("Transpose", at(args["self"]), perm=order)


def _unsqueeze(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = args["dim"] % at.rank(node)
    return at.op("Unsqueeze", at(args["self"]), at.graph.integers([axis], "axes"))


def _squeeze(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value = args["self"]
    asked = args.get("dim", range(at.rank(value)))
    axes = [at.axis(value, d) for d in (asked if not isinstance(asked, int) else [asked])]
    gone = sorted(a for a in set(axes) if at.static(value, a) == 1)
    if at.rank(value) - len(gone) != at.rank(node):
        raise Unsupported("what is squeezed depends on the input size")
    return at.op("Squeeze", at(value), at.graph.integers(gone, "axes")) if gone else at(value)


def _expand(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    sizes = [1 if isinstance(s, int) and s == -1 else s for s in args["size"]]
    return at.op("Expand", at(args["self"]), at.shape(sizes))


def _repeat(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    repeats = args.get("repeats", args.get("dims"))
    assert repeats is not None
    rank, value = at.rank(args["self"]), at(args["self"])
    if len(repeats) > rank:
        axes = at.graph.integers(list(range(len(repeats) - rank)), "axes")
        value = at.op("Unsqueeze", value, axes)
    counts = [1] * (rank - len(repeats)) + list(repeats)
    return at.op("Tile", value, at.shape(counts, "repeats"))


def _repeat_interleave(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, count, axis = args["self"], args["repeats"], args["dim"]
    if not isinstance(count, int) or not isinstance(axis, int):
        raise Unsupported("repeat_interleave by a tensor or over all entries")
    axis = at.axis(value, axis)
    width = at.static(value, axis)
    if width is None:  # repeated along an axis of its own, which then is merged
        rank = at.rank(value)
        line = at.op("Unsqueeze", at(value), at.graph.integers([axis + 1], "axes"))
        times = at.graph.integers([count if a == axis + 1 else 1 for a in range(rank + 1)])
        merged = [*[0] * axis, -1, *(at.dim(value, a) for a in range(axis + 1, rank))]
        return at.op("Reshape", at.op("Expand", line, times), at.vector(merged))
    index = torch.arange(width).repeat_interleave(count)
    return at.op("Gather", at(value), at.graph.tensor(index, "index"), axis=axis)


def _cat(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    dtype = at.dtype(node)
    parts = [p for p in args["tensors"] if at.fact(p).dims != (0,)]
    axis = at.axis(node, args["dim"])
    return at.op("Concat", *(at.operand(p, dtype) for p in parts), axis=axis)


def _hstack(at: Lowering, node: fx.Node) -> str:
    parts = bind(node)["tensors"]
    dtype, axis = at.dtype(node), min(at.rank(node) - 1, 1)
    return at.op("Concat", *(at.operand(p, dtype) for p in parts), axis=axis)


def _stack(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(node, args["dim"])
    where = at.graph.integers([axis], "axes")
    parts = [at.op("Unsqueeze", at.operand(p, at.dtype(node)), where) for p in args["tensors"]]
    return at.op("Concat", *parts, axis=axis)


def _slice(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, start, end, step = (args[k] for k in ("self", "start", "end", "step"))
    axis = at.axis(value, args["dim"])
    first: Any = 0 if start is None else start
    last: Any = END if end is None else end
    if first == 0 and step == 1 and (last == END or last == at.static(value, axis)):
        return at(value)
    bounds = [at.shape([b], "bound") for b in (first, last)]
    return at.op("Slice", at(value), *bounds, at.graph.integers([axis], "axes"),
                 at.shape([step], "step"))  # fmt: skip


def _narrow(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    start, length = args["start"], args["length"]
    if not isinstance(start, int) or not isinstance(length, int) or start < 0:
        raise Unsupported("narrow by sizes that depend on the input")
    bounds = [at.graph.integers([b], "bound") for b in (start, start + length)]
    axes = at.graph.integers([at.axis(args["self"], args["dim"])], "axes")
    return at.op("Slice", at(args["self"]), *bounds, axes)


def _select(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    index = at.operand(args["index"], torch.int64)
    return at.op("Gather", at(args["self"]), index, axis=axis)


def _index_select(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    return at.op("Gather", at(args["self"]), at(args["index"]), axis=axis)


def _gather(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    return at.op("GatherElements", at(args["self"]), at(args["index"]), axis=axis)


def _flip(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axes = [at.axis(args["self"], d) for d in args["dims"]]
    minus = at.graph.integers([-1] * len(axes))
    low = at.graph.integers([-(2**63) + 1] * len(axes))
    return at.op("Slice", at(args["self"]), minus, low, at.graph.integers(axes, "axes"), minus)


def _roll(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value = at(args["self"])
    if not args["dims"] or not all(isinstance(s, int) for s in args["shifts"]):
        raise Unsupported("a roll over all entries, or by a size")
    for shift, dim in zip(args["shifts"], args["dims"], strict=True):
        axis = at.axis(args["self"], dim)
        width = at.static(args["self"], axis)
        if width is None:
            raise Unsupported("a roll along an axis that depends on the input size")
        at_most = shift % width
        if not at_most:
            continue
        axes, cut = at.graph.integers([axis], "axes"), at.graph.integers([width - at_most])
        tail = at.op("Slice", value, cut, at.graph.integers([END]), axes)
        head = at.op("Slice", value, at.graph.integers([0]), cut, axes)
        value = at.op("Concat", tail, head, axis=axis)
    return value


def _channel_shuffle(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    width, groups = at.fact(args["self"]).dims[1], args["groups"]
    order = torch.arange(width).reshape(groups, -1).t().reshape(-1)
    return at.op("Gather", at(args["self"]), at.graph.tensor(order, "index"), axis=1)


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    mode = PAD_MODES[args.get("mode", "constant")]
    amounts = list(args["pad"])
    if not all(isinstance(p, int) for p in amounts):
        raise Unsupported("padding that depends on the input size")
    value, rank = args["self"], at.rank(args["self"])
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    pairs = [(0, 0)] * (rank - len(pairs)) + pairs[::-1]  # torch begins with the last axis
    # All axes: onnxruntime's transpose optimizer (1.31) reads past the end of a shorter list.
    pads = at.graph.integers([p[0] for p in pairs] + [p[1] for p in pairs], "pads")
    fill = args.get("value") or 0
    filled = at.scalar(fill, at.dtype(value)) if mode == "constant" and fill else None
    return at.op("Pad", at(value), pads, filled, mode=mode)


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


def _triangle(upper: int) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        offset = at.graph.tensor(torch.tensor(args["diagonal"], dtype=torch.int64), "diagonal")
        return at.op("Trilu", at(args["self"]), offset, upper=upper)

    return rule


RULES: dict[str, Rule] = {
    "view": _reshape, "reshape": _reshape, "flatten": _reshape, "unflatten": _reshape,
    "permute": _permute, "transpose": _transpose, "t": _transpose, "unsqueeze": _unsqueeze,
    "squeeze": _squeeze, "expand": _expand, "repeat": _repeat, "tile": _repeat,
    "repeat_interleave": _repeat_interleave, "cat": _cat, "hstack": _hstack, "stack": _stack,
    "slice": _slice, "narrow": _narrow, "select": _select, "index_select": _index_select,
    "gather": _gather, "flip": _flip, "roll": _roll,
    "channel_shuffle": _channel_shuffle, "pad": _pad, "constant_pad_nd": _pad,
    "zeros": _full(0), "ones": _full(1), "full": _full(None), "zeros_like": _full(0),
    "ones_like": _full(1), "full_like": _full(None), "new_zeros": _full(0), "new_ones": _full(1),
    "new_full": _full(None), "arange": _arange, "scalar_tensor": _scalar_tensor,
    "tril": _triangle(0), "triu": _triangle(1),
}  # fmt: skip
