"""ONNX for adaptive pooling: bins whose edges depend on the size of the image.

ONNX has pooling to one pixel, and windows of one size. Bins of several sizes are sliced out and
reduced axis by axis, since the mean (largest) of a rectangle is that of its rows' means (largests).
"""

from __future__ import annotations

import operator

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Unsupported
from igc.emit.onnx.lower.layers import _spread
from igc.emit.onnx.lower.pointwise import Rule
from igc.program.schema import bind, operation

REDUCTION = {"AveragePool": "ReduceMean", "MaxPool": "ReduceMax"}


def _adaptive(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        name = operation(node).split(".")[1]
        value, axes = args["self"], int(name[-2])
        if at.rank(value) != axes + 2:
            raise Unsupported("pooling without a batch")
        wanted = _spread(args["output_size"], axes)
        if not all(isinstance(w, int) for w in wanted):
            raise Unsupported("pooling to sizes that depend on the input's")
        if wanted == [1] * axes:
            return at.op(f"Global{kind}", at(value))
        sizes = [at.static(value, a + 2) for a in range(axes)]
        if all(s is not None and s % w == 0 for s, w in zip(sizes, wanted, strict=True)):
            step = [s // w for s, w in zip(sizes, wanted, strict=True) if s is not None]
            return at.op(kind, at(value), kernel_shape=step, strides=step)
        result = at(value)
        for axis, (size, number) in enumerate(zip(sizes, wanted, strict=True), start=2):
            if size != number:
                starts, ends = _edges(at, value, axis, number)
                result = _reduced(at, result, REDUCTION[kind], axis, starts, ends)
        return result

    return rule


def _edges(at: Lowering, value: fx.Node, axis: int, number: int) -> tuple[list[str], list[str]]:
    """Where the bins of an axis start and end: floor(i * size / number), ceil((i+1) * size / n)."""
    size = at.static(value, axis)
    if size is not None:
        below = [i * size // number for i in range(number)]
        above = [-(-(i + 1) * size // number) for i in range(number)]
        return [at.graph.integers([n]) for n in below], [at.graph.integers([n]) for n in above]
    known = at.vector([at.dim(value, axis)])
    edges, count = torch.arange(number + 1), at.graph.integers([number])
    first = at.op("Mul", at.graph.tensor(edges[:-1], "bins"), known)
    last = at.op("Mul", at.graph.tensor(edges[1:], "bins"), known)
    last = at.op("Add", last, at.graph.integers([number - 1]))  # rounds up
    starts, ends = at.op("Div", first, count), at.op("Div", last, count)
    places = [at.graph.integers([i]) for i in range(number)]
    return [at.op("Gather", starts, i) for i in places], [at.op("Gather", ends, i) for i in places]


def _reduced(
    at: Lowering, value: str, kind: str, axis: int, starts: list[str], ends: list[str]
) -> str:
    axes = at.graph.integers([axis], "axes")
    if len(starts) == 1:
        return at.op(kind, value, axes, keepdims=1)
    bins = [
        at.op(kind, at.op("Slice", value, start, end, axes), axes, keepdims=1)
        for start, end in zip(starts, ends, strict=True)
    ]
    return at.op("Concat", *bins, axis=axis)


def _adaptive_max(at: Lowering, node: fx.Node) -> Lowered:
    only_first(node, "the indices of adaptive max pooling")
    result = _adaptive("MaxPool")(at, node)
    assert isinstance(result, str)
    return (result, "")


def only_first(node: fx.Node, what: str) -> None:
    """Refuses a call of which more than the first output is read."""
    if any(user.target is not operator.getitem or user.args[1] != 0 for user in node.users):
        raise Unsupported(what)


RULES: dict[str, Rule] = {
    **{f"adaptive_avg_pool{n}d": _adaptive("AveragePool") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max for n in (1, 2, 3)},
}
