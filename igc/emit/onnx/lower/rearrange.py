"""ONNX for entries cut out, joined, turned, repeated, padded."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Size, Unsupported
from igc.program.schema import bind

END = 2**63 - 1
PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


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


def _flip(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axes = [at.axis(args["self"], d) for d in args["dims"]]
    minus = at.graph.integers([-1] * len(axes))
    low = at.graph.integers([-(2**63) + 1] * len(axes))
    return at.op("Slice", at(args["self"]), minus, low, at.graph.integers(axes, "axes"), minus)


def _roll(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value = at(args["self"])
    if not args["dims"]:
        raise Unsupported("a roll over all entries")
    for shift, dim in zip(args["shifts"], args["dims"], strict=True):
        axis = at.axis(args["self"], dim)
        width = at.static(args["self"], axis)
        if width is None or not isinstance(shift, int):
            value = _rolled(at, args["self"], value, axis, shift)
            continue
        at_most = shift % width
        if not at_most:
            continue
        axes, cut = at.graph.integers([axis], "axes"), at.graph.integers([width - at_most])
        tail = at.op("Slice", value, cut, at.graph.integers([END]), axes)
        head = at.op("Slice", value, at.graph.integers([0]), cut, axes)
        value = at.op("Concat", tail, head, axis=axis)
    return value


def _rolled(at: Lowering, node: fx.Node, value: str, axis: int, shift: Any) -> str:
    """A gather: entry i is that at i - shift, counted round."""
    width = at.op("Reshape", at.vector([at.dim(node, axis)]), at.graph.integers([], "scalar_shape"))
    zero, one = (at.scalar(n, torch.int64) for n in (0, 1))
    places = at.op("Sub", at.op("Range", zero, width, one), at.operand(shift, torch.int64))
    return at.op("Gather", value, at.op("Mod", places, width), axis=axis)


def _channel_shuffle(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    width, groups = at.fact(args["self"]).dims[1], args["groups"]
    order = torch.arange(width).reshape(groups, -1).t().reshape(-1)
    return at.op("Gather", at(args["self"]), at.graph.tensor(order, "index"), axis=1)


def _pad(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    mode = PAD_MODES[args.get("mode", "constant")]
    amounts = [at.size(p) for p in args["pad"]]
    value, rank = args["self"], at.rank(args["self"])
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    none: tuple[Size, Size] = (0, 0)
    pairs = [none] * (rank - len(pairs)) + pairs[::-1]  # torch begins with the last axis
    # All axes: onnxruntime's transpose optimizer (1.31) reads past the end of a shorter list.
    pads = at.vector([p[0] for p in pairs] + [p[1] for p in pairs], "pads")
    fill = args.get("value") or 0
    filled = at.scalar(fill, at.dtype(value)) if mode == "constant" and fill else None
    return at.op("Pad", at(value), pads, filled, mode=mode)


def _triangle(upper: int) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        offset = at.graph.tensor(torch.tensor(args["diagonal"], dtype=torch.int64), "diagonal")
        return at.op("Trilu", at(args["self"]), offset, upper=upper)

    return rule


RULES: dict[str, Rule] = {
    "cat": _cat,
    "hstack": _hstack,
    "stack": _stack,
    "slice": _slice,
    "narrow": _narrow,
    "select": _select,
    "flip": _flip,
    "roll": _roll,
    "channel_shuffle": _channel_shuffle,
    "repeat": _repeat,
    "tile": _repeat,
    "repeat_interleave": _repeat_interleave,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "tril": _triangle(0),
    "triu": _triangle(1),
}
