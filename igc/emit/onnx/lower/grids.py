"""ONNX for sampling images at given places."""

from __future__ import annotations

from torch import fx

from igc.emit.onnx.lower.context import Lowering, Unsupported
from igc.emit.onnx.lower.pointwise import Rule
from igc.program.schema import bind

MODES = ("linear", "nearest", "cubic")
PADDING = ("zeros", "border", "reflection")


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
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _grid_sampler),
    "affine_grid_generator": _affine_grid,
}
