"""ONNX for reading and writing entries at places that a tensor holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Unsupported
from igc.emit.onnx.lower.pool import only_first
from igc.emit.onnx.lower.rearrange import END
from igc.program.schema import bind

Places = tuple[str, list[int], int]


def _index_select(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    return at.op("Gather", at(args["self"]), at(args["index"]), axis=axis)


def _gather(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    return at.op("GatherElements", at(args["self"]), at(args["index"]), axis=axis)


def _embedding(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    return at.op("Gather", at(args["weight"]), at(args["indices"]), axis=0)


def _index(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    given = _given(at, args["indices"])
    value = args["self"]
    if len(given) == 1:
        return at.op("Gather", at(value), at(given[0][1]), axis=given[0][0])
    front, order, rank = _places(at, value, given)
    found = at.op("GatherND", at.op("Transpose", at(value), perm=order), front)
    axes = [axis for axis, _ in given]
    if axes == list(range(axes[0], axes[-1] + 1)) and axes[0]:  # side by side: they stay there
        total = rank + at.rank(value) - len(axes)
        moved = [*range(rank, rank + axes[0]), *range(rank), *range(rank + axes[0], total)]
        return at.op("Transpose", found, perm=moved)
    return found


def _given(at: Lowering, indices: Any) -> list[tuple[int, fx.Node]]:
    given = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if any(at.dtype(i) == torch.bool for _, i in given):
        raise Unsupported("indexing by a mask")
    return given


def _places(at: Lowering, x: fx.Node, given: list[tuple[int, fx.Node]]) -> Places:
    """The indices as rows of places; the axes with those that are indexed in front; their rank."""
    rank = max(at.rank(i) for _, i in given)
    if not rank:
        raise Unsupported("indexing by tensors without axes")
    shape = _broadcast(at, [i for _, i in given])
    last = at.graph.integers([-1], "axes")
    columns = [at.op("Unsqueeze", at.op("Expand", at(i), shape), last) for _, i in given]
    rows = columns[0] if len(columns) == 1 else at.op("Concat", *columns, axis=-1)
    axes = [axis for axis, _ in given]
    order = [*axes, *(a for a in range(at.rank(x)) if a not in axes)]
    return rows, order, rank


def _broadcast(at: Lowering, indices: list[fx.Node]) -> str:
    """The shape that the indices broadcast to: that of their sum."""
    known = [at.static_shape(i) for i in indices]
    if all(shape is not None for shape in known):
        shapes = [shape for shape in known if shape is not None]
        return at.graph.integers(np.broadcast_shapes(*shapes), "shape")
    total = at.operand(indices[0], torch.int64)
    for index in indices[1:]:
        total = at.op("Add", total, at.operand(index, torch.int64))
    return at.op("Shape", total)


def _scatter(reduction: str | None) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        how = args.get("reduce") or reduction
        if how not in (None, "add") or not at.rank(args["self"]):
            raise Unsupported(f"scattering by {how}")
        x, index, dtype = args["self"], args["index"], at.dtype(node)
        source = args.get("src")
        if source is None:
            update = at.op("Expand", at.operand(args["value"], dtype), at.shape_of(index))
        else:
            update = at.operand(source, dtype)
            if at.static_shape(source) is None or at.shape_of(source) != at.shape_of(index):
                update = _first(at, update, index)
        axis = at.axis(x, args["dim"])
        return at.op("ScatterElements", at(x), at(index), update, axis=axis, reduction=how)

    return rule


def _first(at: Lowering, value: str, like: fx.Node) -> str:
    """The first entries along every axis, as many as `like` has."""
    rank = at.rank(like)
    start, axes = at.graph.integers([0] * rank), at.graph.integers(list(range(rank)), "axes")
    return at.op("Slice", value, start, at.shape_of(like), axes)


def _lines(reduction: str | None) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        """index_add, index_copy, index_fill: whole lines along one axis."""
        args = bind(node)
        x, index, dtype = args["self"], args["index"], at.dtype(node)
        if not at.rank(x) or at.rank(index) != 1:
            raise Unsupported("lines of a tensor without axes")
        axis = at.axis(x, args["dim"])
        line = [-1 if a == axis else 1 for a in range(at.rank(x))]
        places = at.op("Reshape", at(index), at.graph.integers(line, "shape"))
        sizes = [at.dim(index if a == axis else x, 0 if a == axis else a)
                 for a in range(at.rank(x))]  # fmt: skip
        shape = at.vector(sizes)
        if "source" in args:
            update = at.operand(args["source"], dtype)
            if args.get("alpha", 1) != 1:
                update = at.op("Mul", update, at.scalar(args["alpha"], dtype))
        else:
            update = at.op("Expand", at.operand(args["value"], dtype), shape)
        places = at.op("Expand", places, shape)
        return at.op("ScatterElements", at(x), places, update, axis=axis, reduction=reduction)

    return rule


def _index_put(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    x, values, dtype = args["self"], args["values"], at.dtype(node)
    given = _given(at, args["indices"])
    axes = [axis for axis, _ in given]
    rows, order, rank = _places(at, x, given)
    lines = at.op("Shape", rows, start=0, end=rank)
    # Axes side by side stay where they were in what is written, others come in front.
    before = axes[0] if axes == list(range(axes[0], axes[-1] + 1)) else 0
    rest = order[len(axes) :]
    shape = [at.vector([at.dim(x, a) for a in part]) if part else None
             for part in (rest[:before], rest[before:])]  # fmt: skip
    parts = [part for part in (shape[0], lines, shape[1]) if part is not None]
    whole = parts[0] if len(parts) == 1 else at.op("Concat", *parts, axis=0)
    update = at.op("Expand", at.operand(values, dtype), whole)
    reduction = "add" if args["accumulate"] else None
    if axes == list(range(len(axes))):
        return at.op("ScatterND", at(x), rows, update, reduction=reduction)
    if before:
        total = rank + len(rest)
        moved = [*range(before, before + rank), *range(before), *range(before + rank, total)]
        update = at.op("Transpose", update, perm=moved)
    front = at.op("Transpose", at(x), perm=order)
    made = at.op("ScatterND", front, rows, update, reduction=reduction)
    return at.op("Transpose", made, perm=[order.index(a) for a in range(at.rank(x))])


REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}


def _scatter_reduce(at: Lowering, node: fx.Node) -> str:
    """What is not to count of the operand is first overwritten by what changes nothing."""
    args = bind(node)
    x, index, dtype, how = args["self"], args["index"], at.dtype(node), args["reduce"]
    if how not in REDUCTIONS or not at.rank(x) or dtype == torch.bool:
        raise Unsupported(f"scattering by {how}")
    axis, update = at.axis(x, args["dim"]), at.operand(args["src"], dtype)
    if at.static_shape(args["src"]) is None or at.shape_of(args["src"]) != at.shape_of(index):
        update = _first(at, update, index)
    held = at(x)
    if not args["include_self"]:
        least, most = _range(dtype)
        neutral = {"sum": 0, "prod": 1, "amax": least, "amin": most}[how]
        fill = at.op("Expand", at.scalar(neutral, dtype), at.shape_of(index))
        held = at.op("ScatterElements", held, at(index), fill, axis=axis)
    return at.op(
        "ScatterElements", held, at(index), update, axis=axis, reduction=REDUCTIONS[how]
    )  # fmt: skip


def _range(dtype: torch.dtype) -> tuple[float, float]:
    """The least and the largest number of a type."""
    if dtype.is_floating_point:
        return -math.inf, math.inf
    return torch.iinfo(dtype).min, torch.iinfo(dtype).max


def _embedding_bag(at: Lowering, node: fx.Node) -> Lowered:
    """Rows of a table, looked up and then added by a matrix of which row is in which bag."""
    only_first(node, "where the rows of a bag lie")
    args = bind(node)
    weight, indices, offsets = args["weight"], args["indices"], args["offsets"]
    mode, dtype = int(args["mode"]), at.dtype(weight)
    if mode == 2 or at.rank(indices) != 1:
        raise Unsupported("the largest of a bag, or bags of several axes")
    flat, behind = at.graph.integers([], "scalar_shape"), at.graph.integers([-1], "axes")
    count = at.vector([at.dim(indices, 0)])
    starts = at.operand(offsets, torch.int64)
    ends = at.op("Slice", starts, at.graph.integers([1]), at.graph.integers([END]))
    if args["include_last_offset"]:
        starts = at.op("Slice", starts, at.graph.integers([0]), at.graph.integers([-1]))
    else:
        ends = at.op("Concat", ends, count, axis=0)
    ends = at.op("Unsqueeze", ends, behind)
    zero, one = (at.scalar(n, torch.int64) for n in (0, 1))
    rows = at.op("Range", zero, at.op("Reshape", count, flat), one)
    first = at.op("Unsqueeze", starts, behind)
    within = at.op("And", at.op("GreaterOrEqual", rows, first), at.op("Less", rows, ends))
    padding = args.get("padding_idx")
    if padding is not None and padding != -1:
        skipped = at.scalar(int(padding), torch.int64)
        same = at.op("Equal", at.operand(indices, torch.int64), skipped)
        within = at.op("And", within, at.op("Not", same))
    member = at.cast(within, torch.bool, dtype)
    if mode == 1:
        counted = at.op("ReduceSum", member, behind, keepdims=1)
        member = at.op("Div", member, at.op("Max", counted, at.scalar(1, dtype)))
    found = at.op("Gather", at(weight), at(indices), axis=0)
    if args["per_sample_weights"] is not None:
        found = at.op("Mul", found, at.op("Unsqueeze", at(args["per_sample_weights"]), behind))
    return (at.op("MatMul", member, found), "", "", "")


RULES: dict[str, Rule] = {
    "index_select": _index_select,
    "gather": _gather,
    "embedding": _embedding,
    "index": _index,
    "_unsafe_index": _index,
    "scatter": _scatter(None),
    "scatter_add": _scatter("add"),
    "index_add": _lines("add"),
    "index_copy": _lines(None),
    "index_fill": _lines(None),
    "index_put": _index_put,
    "scatter_reduce": _scatter_reduce,
    "embedding_bag": _embedding_bag,
    "_unsafe_index_put": _index_put,
}
