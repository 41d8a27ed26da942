"""ONNX for images read at other places: resizing, sampling by a grid."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Size, Unsupported
from igc.emit.onnx.lower.smooth import smoothed
from igc.program.schema import bind

MODES = ("linear", "nearest", "cubic")
PADDING = ("zeros", "border", "reflection")


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
            # "pytorch_half_pixel" reads the first pixel where one is left; torch, the middle.
            attributes["coordinate_transformation_mode"] = "half_pixel"
        if mode == "cubic":
            attributes["cubic_coeff_a"] = -0.5 if smooth else -0.75
        if smooth:
            height, width = (at.static(node, axis) for axis in (2, 3))
            if width == 1 and height != 1:  # torch (2.13) repeats one row on the CPU
                raise Unsupported("anti-aliased resizing to a width of 1, which torch gets wrong")
            if args["align_corners"] or width is None:
                return smoothed(at, node, mode)
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


def _grid_sampler(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    mode = args["interpolation_mode"]
    if at.rank(args["input"]) == 5 and mode == 2:
        raise Unsupported("cubic sampling of volumes")
    return at.op(
        "GridSample", at(args["input"]), at(args["grid"]), mode=MODES[mode],
        padding_mode=PADDING[args["padding_mode"]], align_corners=int(args["align_corners"]),
    )  # fmt: skip


def _affine_grid(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    return at.op(
        "AffineGrid", at(args["theta"]), at.shape(args["size"]),
        align_corners=int(args["align_corners"]),
    )  # fmt: skip


RULES: dict[str, Rule] = {
    **{f"upsample_nearest{n}d": _resize("nearest") for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _resize("nearest", exact=True) for n in (1, 2, 3)},
    "upsample_linear1d": _resize("linear"),
    "upsample_bilinear2d": _resize("linear"),
    "upsample_trilinear3d": _resize("linear"),
    "upsample_bicubic2d": _resize("cubic"),
    "_upsample_bilinear2d_aa": _resize("linear", smooth=True),
    "_upsample_bicubic2d_aa": _resize("cubic", smooth=True),
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _grid_sampler),
    "affine_grid_generator": _affine_grid,
}
