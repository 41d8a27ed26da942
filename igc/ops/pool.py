"""Pooling over height and width of each channel alone, with places and without, and unpooling."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Follow, Pointwise, Survives

SPATIAL_RANK = {
    "max_pool1d.default": 1, "max_pool2d.default": 2, "max_pool3d.default": 3,
    "avg_pool1d.default": 1, "avg_pool2d.default": 2, "avg_pool3d.default": 3,
    "adaptive_avg_pool1d.default": 1, "adaptive_avg_pool2d.default": 2,
    "adaptive_avg_pool3d.default": 3, "_adaptive_avg_pool2d.default": 2,
}  # fmt: skip


def spatial(node: fx.Node, facts: Facts, rank: int, survives: Survives = "zero") -> Pointwise:
    """The last `rank` axes of the first operand are read in full; the others are followed."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    axes = len(facts.shape(x))
    follow = tuple(a if a < axes - rank else None for a in range(axes))
    return Pointwise((Follow(x, follow),), fixed=frozenset(range(axes - rank, axes)),
                     survives=survives)  # fmt: skip


def whole_maps(rank: int, survives: Survives = "zero") -> Rule:
    """The rule of an op on maps of `rank` axes."""

    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """The last axes (height, width) stay whole; every other channel alone."""
        return spatial(node, facts, rank, survives)

    return rule


def _pooled(rank: int) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """Height and width stay whole; a place is one within its own channel."""
        return spatial(node, facts, rank, "none")

    return rule


def _unpooled(rank: int) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """max_unpool(x, places, size): every channel alone, height and width whole."""
        axes = len(facts.shape(node))
        follow = tuple(a if a < axes - rank else None for a in range(axes))
        both = (Follow(operand(node, "self"), follow), Follow(operand(node, "indices"), follow))
        return Pointwise(both, fixed=frozenset(range(axes - rank, axes)))

    return rule


RULES: dict[str, Rule] = {
    **{
        f"aten.{name}": whole_maps(rank, "same" if name.startswith("max_pool") else "zero")
        for name, rank in SPATIAL_RANK.items()
    },
    **{f"aten.max_pool{n}d_with_indices.default": _pooled(n) for n in (1, 2, 3)},
    **{f"aten.adaptive_max_pool{n}d.default": _pooled(n) for n in (1, 2, 3)},
    **{f"aten.max_unpool{n}d.default": _unpooled(n) for n in (2, 3)},
}
