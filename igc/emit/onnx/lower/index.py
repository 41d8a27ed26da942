"""ONNX for reading and writing entries at places that a tensor holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
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
    if axes != list(range(len(axes))):
        raise Unsupported("writing at places of later axes")
    rows, _, rank = _places(at, x, given)
    kept = [at.dim(x, a) for a in range(len(axes), at.rank(x))]
    lines = at.op("Shape", rows, start=0, end=rank)
    shape = at.op("Concat", lines, at.vector(kept), axis=0) if kept else lines
    update = at.op("Expand", at.operand(values, dtype), shape)
    reduction = "add" if args["accumulate"] else None
    return at.op("ScatterND", at(x), rows, update, reduction=reduction)


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
    "_unsafe_index_put": _index_put,
}
