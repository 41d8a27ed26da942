"""ONNX for sorting: everything is a TopK, of all entries or of some."""

from __future__ import annotations

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Size, Unsupported
from igc.program.schema import bind

ORDERED = {torch.float16, torch.float32, torch.float64, torch.int32, torch.int64}


def _top(at: Lowering, x: fx.Node, axis: int, count: Size, largest: bool) -> tuple[str, ...]:
    """The first `count` values along the axis and their places, best first."""
    if at.dtype(x) not in ORDERED or not at.rank(x):
        raise Unsupported(f"sorting {at.dtype(x)} of {at.rank(x)} dimensions")
    return at.graph.ops(
        "TopK", at(x), at.vector([count]), axis=axis, largest=int(largest), sorted=1, count=2
    )


def _sort(at: Lowering, node: fx.Node) -> Lowered:
    args = bind(node)
    x = args["self"]
    axis = at.axis(x, args["dim"])
    return _top(at, x, axis, at.dim(x, axis), bool(args["descending"]))


def _argsort(at: Lowering, node: fx.Node) -> str:
    return _sort(at, node)[1]


def _topk(at: Lowering, node: fx.Node) -> Lowered:
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    return _top(at, args["self"], axis, at.size(args["k"]), bool(args["largest"]))


def _one_of(at: Lowering, node: fx.Node, axis: int, count: Size) -> Lowered:
    """Value and place of the entry that is number `count` from below."""
    last = at.op("Sub", at.vector([count]), at.graph.integers([1]))
    found = []
    for sorted_ in _top(at, bind(node)["self"], axis, count, largest=False):
        one = at.op("Gather", sorted_, last, axis=axis)
        if not bind(node)["keepdim"]:
            one = at.op("Squeeze", one, at.graph.integers([axis], "axes"))
        found.append(one)
    return tuple(found)


def _median(at: Lowering, node: fx.Node) -> Lowered:
    """The lower one of the two in the middle."""
    args = bind(node)
    axis = at.axis(args["self"], args["dim"])
    size = at.dim(args["self"], axis)
    if isinstance(size, int):
        return _one_of(at, node, axis, (size + 1) // 2)
    more = at.op("Add", size, at.graph.integers([1]))
    return _one_of(at, node, axis, at.op("Div", more, at.graph.integers([2])))


def _kthvalue(at: Lowering, node: fx.Node) -> Lowered:
    args = bind(node)
    return _one_of(at, node, at.axis(args["self"], args["dim"]), at.size(args["k"]))


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


RULES: dict[str, Rule] = {
    "sort": _sort,
    "argsort": _argsort,
    "topk": _topk,
    "median": _median,
    "kthvalue": _kthvalue,
    "bucketize": _bucketize,
    "searchsorted": _bucketize,
}
