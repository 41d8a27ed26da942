"""ONNX for pooling and resizing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Size, Unsupported
from igc.emit.onnx.lower.layers import _spread
from igc.emit.onnx.lower.pointwise import Rule
from igc.program.schema import bind, operation


def _window(at: Lowering, node: fx.Node) -> tuple[dict[str, Any], int]:
    """Attributes that all pooling windows share, and the number of spatial axes."""
    args = bind(node)
    name = operation(node).split(".")[1]
    axes = int(name[name.index("pool") + 4])
    if at.rank(args["self"]) != axes + 2:
        raise Unsupported("pooling without a batch")
    kernel = _spread(args["kernel_size"], axes)
    stride = _spread(args["stride"], axes) if args["stride"] else kernel
    padding = _spread(args["padding"], axes)
    attributes = {"kernel_shape": kernel, "strides": stride, "pads": padding * 2}
    if args["ceil_mode"] and not _floors(at, node, args, kernel, stride, padding):
        attributes["ceil_mode"] = 1  # type: ignore[assignment]  # a dict of ONNX attributes
    return attributes, axes


def _floors(
    at: Lowering, node: fx.Node, args: dict[str, Any], kernel: list[int], stride: list[int],
    padding: list[int],
) -> bool:  # fmt: skip
    """Whether rounding up changes nothing, since all sizes are static and divide."""
    dilation = _spread(args.get("dilation", 1), len(kernel))
    for i, (k, s, p, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
        size, out = at.static(args["self"], i + 2), at.static(node, i + 2)
        if size is None or out != (size + 2 * p - d * (k - 1) - 1) // s + 1:
            return False
    return True


def _max_pool(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    attributes, axes = _window(at, node)
    attributes["dilations"] = _spread(args["dilation"], axes)
    return at.op("MaxPool", at(args["self"]), **attributes)


def _max_pool_with_places(at: Lowering, node: fx.Node) -> Lowered:
    """ONNX counts places through the whole tensor, torch within each map."""
    args = bind(node)
    attributes, axes = _window(at, node)
    attributes["dilations"] = _spread(args["dilation"], axes)
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
    attributes, _ = _window(at, node)
    if args.get("divisor_override") is not None:
        raise Unsupported("average pooling with its own divisor")
    padded = any(attributes["pads"])
    if padded and args["count_include_pad"] and "ceil_mode" in attributes:
        raise Unsupported("average pooling that rounds up and counts padding")
    include = int(padded and args["count_include_pad"])
    return at.op("AveragePool", at(args["self"]), count_include_pad=include, **attributes)


def _resize(mode: str, exact: bool = False, smooth: bool = False) -> Rule:
    """`exact`: torch's nearest-exact; `smooth`: with anti-aliasing, as Pillow resizes."""

    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        value, rank = args["input"], at.rank(args["input"])
        attributes: dict[str, Any] = {"mode": mode}
        if mode == "nearest":
            attributes["coordinate_transformation_mode"] = "half_pixel" if exact else "asymmetric"
            attributes["nearest_mode"] = "round_prefer_ceil" if exact else "floor"
        elif args["align_corners"]:
            attributes["coordinate_transformation_mode"] = "align_corners"
        else:
            attributes["coordinate_transformation_mode"] = "pytorch_half_pixel"
        if mode == "cubic":
            attributes["cubic_coeff_a"] = -0.5 if smooth else -0.75
        if smooth:
            if args["align_corners"]:
                raise Unsupported("anti-aliased resizing with aligned corners")
            # onnxruntime (1.31) goes wrong where a width becomes 1 and a height does not.
            height, width = (at.static(node, axis) for axis in (2, 3))
            if width is None or (width == 1 and height != 1):
                raise Unsupported("anti-aliased resizing to a width that is 1 or not known")
            attributes |= {"antialias": 1, "exclude_outside": 1}
            attributes["coordinate_transformation_mode"] = "half_pixel"
        scales, sizes = args["scale_factors"], args["output_size"]
        if scales is not None:
            if not all(isinstance(s, (int, float)) for s in scales):
                raise Unsupported("resizing by a factor that depends on the input size")
            factors = torch.tensor([1.0, 1.0, *scales], dtype=torch.float32)
            return at.op(
                "Resize", at(value), None, at.graph.tensor(factors, "scales"), **attributes
            )
        full: list[Size] = [at.dim(value, 0), at.dim(value, 1), *(at.size(s) for s in sizes)]
        if len(full) != rank:
            raise Unsupported("resizing without a batch")
        return at.op("Resize", at(value), None, None, at.vector(full, "sizes"), **attributes)

    return rule


RULES: dict[str, Rule] = {
    **{f"max_pool{n}d": _max_pool for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _max_pool_with_places for n in (1, 2, 3)},
    **{f"max_unpool{n}d": _max_unpool for n in (2, 3)},
    **{f"avg_pool{n}d": _avg_pool for n in (1, 2, 3)},
    **{f"upsample_nearest{n}d": _resize("nearest") for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _resize("nearest", exact=True) for n in (1, 2, 3)},
    "upsample_linear1d": _resize("linear"),
    "upsample_bilinear2d": _resize("linear"),
    "upsample_trilinear3d": _resize("linear"),
    "upsample_bicubic2d": _resize("cubic"),
    "_upsample_bilinear2d_aa": _resize("linear", smooth=True),
    "_upsample_bicubic2d_aa": _resize("cubic", smooth=True),
}
