"""Ops that work on height and width of each channel alone: pooling, resizing, padding."""

from __future__ import annotations

import numpy as np
from torch import fx

from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Follow, Pointwise, Survives, Take
from igc.program.nodes import args_of

SPATIAL_RANK = {
    "max_pool1d.default": 1, "max_pool2d.default": 2, "max_pool3d.default": 3,
    "avg_pool1d.default": 1, "avg_pool2d.default": 2, "avg_pool3d.default": 3,
    "adaptive_avg_pool1d.default": 1, "adaptive_avg_pool2d.default": 2,
    "adaptive_avg_pool3d.default": 3, "_adaptive_avg_pool2d.default": 2,
    "upsample_nearest1d.vec": 1, "upsample_nearest2d.vec": 2, "upsample_nearest3d.vec": 3,
    "_upsample_nearest_exact1d.vec": 1, "_upsample_nearest_exact2d.vec": 2,
    "_upsample_nearest_exact3d.vec": 3,
    "upsample_linear1d.vec": 1, "upsample_bilinear2d.vec": 2, "upsample_trilinear3d.vec": 3,
    "upsample_bicubic2d.vec": 2, "_upsample_bilinear2d_aa.vec": 2, "_upsample_bicubic2d_aa.vec": 2,
    "upsample_nearest1d.default": 1, "upsample_nearest2d.default": 2,
    "upsample_bilinear2d.default": 2, "upsample_bicubic2d.default": 2,
    "upsample_linear1d.default": 1, "upsample_nearest3d.default": 3,
    "reflection_pad1d.default": 1, "reflection_pad2d.default": 2, "reflection_pad3d.default": 3,
    "replication_pad1d.default": 1, "replication_pad2d.default": 2, "replication_pad3d.default": 3,
}  # fmt: skip


def spatial(node: fx.Node, facts: Facts, rank: int, survives: Survives = "zero") -> Pointwise:
    """The last `rank` axes are read in full; the others are followed."""
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    axes = len(facts.shape(node))
    follow = tuple(a if a < axes - rank else None for a in range(axes))
    return Pointwise((Follow(x, follow),), fixed=frozenset(range(axes - rank, axes)),
                     survives=survives)  # fmt: skip


def _spatial_rule(rank: int, survives: Survives) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """The last axes (height, width) stay whole; every other channel alone."""
        return spatial(node, facts, rank, survives)

    return rule


def pad(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """pad(x, [last axis before, after, the one before that ...], mode, value)."""
    x, amounts = args_of(node)[0], args_of(node)[1]
    assert isinstance(x, fx.Node) and isinstance(amounts, (list, tuple))
    constant = str(node.target) == "aten.constant_pad_nd.default"
    mode = "constant" if constant else str(argument(node, 2, "mode", "constant"))
    value = argument(node, 2 if constant else 3, "value", 0.0) or 0.0
    rank = len(facts.shape(node))
    padded = [
        rank - 1 - i
        for i in range(len(amounts) // 2)
        if amounts[2 * i] != 0 or amounts[2 * i + 1] != 0
    ]
    if mode == "constant" and len(padded) == 1 and not facts.dynamic(node)[padded[0]]:
        axis = padded[0]
        at = 2 * (rank - 1 - axis)
        before, after = amounts[at], amounts[at + 1]
        if isinstance(before, int) and isinstance(after, int):
            size = facts.shape(x)[axis]
            index = np.concatenate(
                [np.full(max(before, 0), -1), np.arange(size), np.full(max(after, 0), -1)]
            )
            index = index[max(-before, 0) : len(index) - max(-after, 0)]
            return Take(x, axis, index.astype(np.int64), fill=float(value))
    follow = tuple(None if a in padded else a for a in range(rank))
    survives: Survives = "zero" if value == 0 else "none"
    return Pointwise((Follow(x, follow),), fixed=frozenset(padded), survives=survives)


RULES: dict[str, Rule] = {
    **{
        f"aten.{name}": _spatial_rule(rank, "same" if name.startswith("max_pool") else "zero")
        for name, rank in SPATIAL_RANK.items()
    },
    "aten.pad.default": pad,
    "aten.constant_pad_nd.default": pad,
}
