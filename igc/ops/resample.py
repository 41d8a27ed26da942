"""Images read at other places: resized, or sampled where a grid says."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.pool import whole_maps
from igc.ops.relations import Follow, Pointwise

SPATIAL_RANK = {
    "upsample_nearest1d.vec": 1, "upsample_nearest2d.vec": 2, "upsample_nearest3d.vec": 3,
    "_upsample_nearest_exact1d.vec": 1, "_upsample_nearest_exact2d.vec": 2,
    "_upsample_nearest_exact3d.vec": 3,
    "upsample_linear1d.vec": 1, "upsample_bilinear2d.vec": 2, "upsample_trilinear3d.vec": 3,
    "upsample_bicubic2d.vec": 2, "_upsample_bilinear2d_aa.vec": 2, "_upsample_bicubic2d_aa.vec": 2,
    "upsample_nearest1d.default": 1, "upsample_nearest2d.default": 2,
    "upsample_bilinear2d.default": 2, "upsample_bicubic2d.default": 2,
    "upsample_linear1d.default": 1, "upsample_nearest3d.default": 3,
}  # fmt: skip


def grid_sampler(node: fx.Node, facts: Facts) -> Pointwise:
    """grid_sampler(x, grid, ...): x keeps height and width whole, the grid all but the batch."""
    rank = len(facts.shape(node))
    rest = (None,) * (rank - 2)
    x = Follow(operand(node, "input"), (0, 1, *rest))
    places = Follow(operand(node, "grid"), (0, *rest, None))
    return Pointwise((x, places), fixed=frozenset(range(2, rank)), survives="zero")


def affine_grid(node: fx.Node, facts: Facts) -> Pointwise:
    """affine_grid_generator(theta, size, aligned): all of an image's places from all of theta."""
    rank = len(facts.shape(node))
    theta = Follow(operand(node, "theta"), (0, None, None))
    return Pointwise((theta,), fixed=frozenset(range(1, rank)))


RULES: dict[str, Rule] = {
    **{f"aten.{name}": whole_maps(rank) for name, rank in SPATIAL_RANK.items()},
    "aten.grid_sampler.default": grid_sampler,
    "aten.grid_sampler_2d.default": grid_sampler,
    "aten.grid_sampler_3d.default": grid_sampler,
    "aten.affine_grid_generator.default": affine_grid,
}
