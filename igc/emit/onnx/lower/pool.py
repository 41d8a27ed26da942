"""ONNX for pooling, with places and without, and unpooling.

ONNX has pooling to one pixel, and windows of one size. Adaptive bins of several sizes are sliced
out and reduced axis by axis, since the mean (largest) of a rectangle is that of its rows' means
(largests).
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Unsupported, per_axis
from igc.program.schema import bind, op_name

REDUCTION = {"AveragePool": "ReduceMean", "MaxPool": "ReduceMax"}


def _window(at: Lowering, node: fx.Node) -> tuple[dict[str, Any], int]:
    """Attributes that all pooling windows share, and the number of spatial axes."""
    args = bind(node)
    name = op_name(node)
    axes = int(name[name.index("pool") + 4])
    if at.rank(args["self"]) != axes + 2:
        raise Unsupported("pooling without a batch")
    kernel = per_axis(args["kernel_size"], axes)
    stride = per_axis(args["stride"], axes) if args["stride"] else kernel
    padding = per_axis(args["padding"], axes)
    attributes = {"kernel_shape": kernel, "strides": stride, "pads": padding * 2}
    if args["ceil_mode"] and not _floors(at, node, args, kernel, stride, padding):
        attributes["ceil_mode"] = 1  # type: ignore[assignment]  # a dict of ONNX attributes
    return attributes, axes


def _floors(
    at: Lowering, node: fx.Node, args: dict[str, Any], kernel: list[int], stride: list[int],
    padding: list[int],
) -> bool:  # fmt: skip
    """Whether rounding up changes nothing, since all sizes are static and divide."""
    if at.fact(node).shape is None:  # one of several outputs
        return False
    dilation = per_axis(args.get("dilation", 1), len(kernel))
    for i, (k, s, p, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
        size, out = at.static(args["self"], i + 2), at.static(node, i + 2)
        if size is None or out != (size + 2 * p - d * (k - 1) - 1) // s + 1:
            return False
    return True


def _max_pool(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    attributes, axes = _window(at, node)
    attributes["dilations"] = per_axis(args["dilation"], axes)
    return at.op("MaxPool", at(args["self"]), **attributes)


def _max_pool_with_places(at: Lowering, node: fx.Node) -> Lowered:
    """ONNX counts places through the whole tensor, torch within each map."""
    args = bind(node)
    attributes, axes = _window(at, node)
    attributes["dilations"] = per_axis(args["dilation"], axes)
    values, places = at.graph.ops("MaxPool", at(args["self"]), count=2, **attributes)
    return values, at.op("Mod", places, _area(at, args["self"], axes))


def _area(at: Lowering, node: fx.Node, axes: int) -> str:
    """How many entries a map has, as one number."""
    sizes = [at.dim(node, a + 2) for a in range(axes)]
    known = [s for s in sizes if isinstance(s, int)]
    if len(known) == len(sizes):
        return at.scalar(math.prod(known), torch.int64)
    return at.op("ReduceProd", at.vector(sizes), keepdims=0)


def _max_unpool(at: Lowering, node: fx.Node) -> str:
    """Values scattered into maps of zeros, each map as one line."""
    args = bind(node)
    value, places, dtype = args["self"], args["indices"], at.dtype(node)
    rank = at.rank(value)
    if rank < 4:
        raise Unsupported("unpooling without a batch")
    whole = [at.dim(value, 0), at.dim(value, 1), *(at.size(s) for s in args["output_size"])]
    lines = at.graph.integers([0, 0, -1], "shape")
    zeros = at.op("Reshape", at.op("Expand", at.scalar(0, dtype), at.vector(whole)), lines)
    flat = [at.op("Reshape", at(v), lines) for v in (places, value)]
    made = at.op("ScatterElements", zeros, *flat, axis=2)
    return at.op("Reshape", made, at.vector(whole))


def _avg_pool(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    attributes, axes = _window(at, node)
    padded, divisor = any(attributes["pads"]), args.get("divisor_override")
    counts = padded and args["count_include_pad"]
    if "ceil_mode" in attributes and (counts or divisor):
        return _rounded_up(at, node, attributes, axes, divisor)
    if divisor is not None:
        mean = at.op("AveragePool", at(args["self"]), count_include_pad=1, **attributes)
        factor = math.prod(attributes["kernel_shape"]) / divisor
        return at.op("Mul", mean, at.scalar(factor, at.dtype(node)))
    include = int(padded and args["count_include_pad"])
    return at.op("AveragePool", at(args["self"]), count_include_pad=include, **attributes)


def _rounded_up(
    at: Lowering, node: fx.Node, attributes: dict[str, Any], axes: int, divisor: int | None
) -> str:
    """Windows that count padding, and none of what lies beyond it; runtimes differ on those.

    Padded first, and pooled as an image of that size. A window that begins behind the image itself
    is one that torch leaves out.
    """
    value, pads, stride = bind(node)["self"], attributes["pads"], attributes["strides"]
    around = [0, 0, *pads[:axes]] * 2
    steps = at.graph.integers(stride)
    spatial = at.vector([at.dim(value, a + 2) for a in range(axes)])
    begin = at.op("Add", spatial, at.graph.integers([p - 1 for p in pads[:axes]]))
    ends = at.op("Add", at.op("Div", begin, steps), at.graph.integers([1] * axes))
    kept = at.graph.integers([0] * axes), ends, at.graph.integers(list(range(2, axes + 2)), "axes")
    how = {"kernel_shape": attributes["kernel_shape"], "strides": stride}
    if divisor is None:
        padded = at.op("Pad", at(value), at.graph.integers(around, "pads"))
        return at.op("Slice", at.op("AveragePool", padded, ceil_mode=1, **how), *kept)
    more = [0, 0, *pads[:axes], 0, 0, *(p + s for p, s in zip(pads[:axes], stride, strict=True))]
    padded = at.op("Pad", at(value), at.graph.integers(more, "pads"))
    factor = at.scalar(math.prod(attributes["kernel_shape"]) / divisor, at.dtype(node))
    return at.op("Slice", at.op("Mul", at.op("AveragePool", padded, **how), factor), *kept)


def _adaptive(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        name = op_name(node)
        value, axes = args["self"], int(name[-2])
        if at.rank(value) != axes + 2:
            raise Unsupported("pooling without a batch")
        asked = args["output_size"]
        if any(isinstance(w, fx.Node) for w in (asked if isinstance(asked, list) else [asked])):
            return _to_sizes(at, node, kind, axes)
        wanted = per_axis(asked, axes)
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


def _to_sizes(at: Lowering, node: fx.Node, kind: str, axes: int) -> str:
    """Bins that the input counts: axis by axis, an entry is in a bin or it is not."""
    value, asked, dtype = bind(node)["self"], bind(node)["output_size"], at.dtype(node)
    result, rank = at(value), at.rank(value)
    flat, behind = at.graph.integers([], "scalar_shape"), at.graph.integers([-1], "axes")
    zero, one = (at.scalar(n, torch.int64) for n in (0, 1))
    for axis in range(2, axes + 2):
        sizes = at.dim(value, axis), at.size(asked[axis - 2])
        size, number = (at.op("Reshape", at.vector([s]), flat) for s in sizes)
        bins = at.op("Range", zero, number, one)
        first = at.op("Div", at.op("Mul", bins, size), number)
        rounding = at.op("Sub", number, one)
        last = at.op("Mul", at.op("Add", bins, one), size)
        last = at.op("Div", at.op("Add", last, rounding), number)
        first, last = (at.op("Unsqueeze", edge, behind) for edge in (first, last))
        entries = at.op("Range", zero, size, one)
        within = at.op("And", at.op("GreaterOrEqual", entries, first),
                       at.op("Less", entries, last))  # fmt: skip
        order = [a for a in range(rank) if a != axis] + [axis]
        line = at.op("Transpose", result, perm=order)
        if kind == "AveragePool":
            parts = at.op("Div", at.cast(within, torch.bool, dtype),
                          at.cast(at.op("Sub", last, first), torch.int64, dtype))  # fmt: skip
            line = at.op("MatMul", line, at.op("Transpose", parts, perm=[1, 0]))
        else:
            line = at.op("Unsqueeze", line, at.graph.integers([-2], "axes"))
            line = at.op("Where", within, line, at.scalar(-math.inf, dtype))
            line = at.op("ReduceMax", line, behind, keepdims=0)
        result = at.op("Transpose", line, perm=[order.index(a) for a in range(rank)])
    return result


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
    **{f"max_pool{n}d": _max_pool for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _max_pool_with_places for n in (1, 2, 3)},
    **{f"max_unpool{n}d": _max_unpool for n in (2, 3)},
    **{f"avg_pool{n}d": _avg_pool for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive("AveragePool") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max for n in (1, 2, 3)},
}
