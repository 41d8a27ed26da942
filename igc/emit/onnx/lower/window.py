"""ONNX for operations between pixels or windows and channels."""

from __future__ import annotations

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
from igc.emit.onnx.lower.rearrange import END
from igc.program.schema import bind


def _unfold(at: Lowering, node: fx.Node) -> str:
    """A gather with a table of windows, whose entries then go last."""
    args = bind(node)
    axis, rank = at.axis(args["self"], args["dimension"]), at.rank(args["self"])
    width = at.static(args["self"], axis)
    if width is None:
        flat = at.graph.integers([], "scalar_shape")
        last = at.op("Sub", at.vector([at.dim(args["self"], axis)]),
                     at.graph.integers([args["size"] - 1]))  # fmt: skip
        starts = [at.scalar(0, torch.int64), at.op("Reshape", last, flat),
                  at.scalar(args["step"], torch.int64)]  # fmt: skip
        within = at.graph.tensor(torch.arange(args["size"]), "window")
        behind = at.graph.integers([-1], "axes")
        table = at.op("Add", at.op("Unsqueeze", at.op("Range", *starts), behind), within)
    else:
        known = torch.arange(width).unfold(0, args["size"], args["step"])
        table = at.graph.tensor(known, "windows")
    windows = at.op("Gather", at(args["self"]), table, axis=axis)
    order = [a for a in range(rank + 1) if a != axis + 1] + [axis + 1]
    return at.op("Transpose", windows, perm=order)


def _pixel_shuffle(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    if at.rank(args["self"]) != 4:
        raise Unsupported("pixel shuffle without a batch")
    return at.op("DepthToSpace", at(args["self"]), blocksize=args["upscale_factor"], mode="CRD")


def _pixel_unshuffle(at: Lowering, node: fx.Node) -> str:
    """SpaceToDepth puts the block before the channels; a gather puts the channels first."""
    args = bind(node)
    value, block = args["self"], args["downscale_factor"]
    if at.rank(value) != 4:
        raise Unsupported("pixel unshuffle without a batch")
    width = at.fact(value).dims[1]
    deep = at.op("SpaceToDepth", at(value), blocksize=block)
    order = torch.arange(width * block * block).reshape(block * block, width).t().reshape(-1)
    return at.op("Gather", deep, at.graph.tensor(order, "index"), axis=1)


def _im2col(at: Lowering, node: fx.Node) -> str:
    """A strided slice for each place in the kernel, side by side behind the channels."""
    args = bind(node)
    value, kernel, dilation = args["self"], args["kernel_size"], args["dilation"]
    if at.rank(value) != 4:
        raise Unsupported("windows of images without a batch")
    padded = at(value)
    axes, steps = at.graph.integers([2, 3], "axes"), at.graph.integers(args["stride"], "steps")
    if any(args["padding"]):
        padded = at.op("Pad", padded, at.graph.integers([0, 0, *args["padding"]] * 2, "pads"))
    behind = at.graph.integers([2], "axes")
    pieces = []
    for place in ((i, j) for i in range(kernel[0]) for j in range(kernel[1])):
        start = [d * p for d, p in zip(dilation, place, strict=True)]
        left = [d * (k - 1 - p) for d, k, p in zip(dilation, kernel, place, strict=True)]
        first = at.graph.integers(start, "starts")
        end = at.graph.integers([-e if e else END for e in left], "ends")
        piece = at.op("Slice", padded, first, end, axes, steps)
        pieces.append(at.op("Unsqueeze", piece, behind))
    joined = at.op("Concat", *pieces, axis=2) if len(pieces) > 1 else pieces[0]
    width = at.fact(node).dims[1]
    return at.op("Reshape", joined, at.graph.integers([0, width, -1], "shape"))


def _col2im(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    if at.rank(args["self"]) != 3:
        raise Unsupported("windows of images without a batch")
    return at.op(
        "Col2Im", at(args["self"]), at.shape(args["output_size"]),
        at.graph.integers(args["kernel_size"], "kernel"), dilations=args["dilation"],
        pads=[*args["padding"]] * 2, strides=args["stride"],
    )  # fmt: skip


RULES: dict[str, Rule] = {
    "unfold": _unfold,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "im2col": _im2col,
    "col2im": _col2im,
}
