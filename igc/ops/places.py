"""Values and where they stood: sorting, extremes and pooling with indices, and unpooling.

Most of these have two outputs. The rule is that of each of them: it is given the call, and says
how the channels of an output relate to the call's operand.
"""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Follow, Pointwise
from igc.program.nodes import args_of


def _operand(node: fx.Node, facts: Facts) -> tuple[fx.Node, int]:
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    return x, len(facts.shape(x))


def _sorted(default: int, at: int = 1) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """One axis is read whole and stays whole; every line along it alone."""
        x, rank = _operand(node, facts)
        if not rank:
            return Pointwise((Follow(x, ()),))
        axis = int(argument(node, at, "dim", default)) % rank
        follow = tuple(None if a == axis else a for a in range(rank))
        return Pointwise((Follow(x, follow),), fixed=frozenset({axis}))

    return rule


def _extreme(dim_at: int = 1) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """One axis is read whole, and gone or of size one; every line along it alone."""
        x, rank = _operand(node, facts)
        if not rank:
            return Pointwise((Follow(x, ()),))
        axis = int(argument(node, dim_at, "dim", -1)) % rank
        keep = bool(argument(node, dim_at + 1, "keepdim", False))
        follow = tuple(None if a == axis else a - (a > axis and not keep) for a in range(rank))
        return Pointwise((Follow(x, follow),))

    return rule


def _pooled(axes: int) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """Height and width stay whole; a place is one within its own channel."""
        x, rank = _operand(node, facts)
        follow = tuple(a if a < rank - axes else None for a in range(rank))
        return Pointwise((Follow(x, follow),), fixed=frozenset(range(rank - axes, rank)))

    return rule


def _unpooled(axes: int) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """max_unpool(x, places, size): every channel alone, height and width whole."""
        x, places = args_of(node)[:2]
        rank = len(facts.shape(node))
        follow = tuple(a if a < rank - axes else None for a in range(rank))
        whole = frozenset(range(rank - axes, rank))
        return Pointwise((Follow(x, follow), Follow(places, follow)), fixed=whole)

    return rule


RULES: dict[str, Rule] = {
    "aten.sort.default": _sorted(-1),
    "aten.sort.stable": _sorted(-1, at=2),
    "aten.topk.default": _sorted(-1, at=2),
    "aten.cummax.default": _sorted(-1),
    "aten.cummin.default": _sorted(-1),
    "aten.max.dim": _extreme(),
    "aten.min.dim": _extreme(),
    "aten.median.dim": _extreme(),
    "aten.mode.default": _extreme(),
    "aten.kthvalue.default": _extreme(2),
    "aten.max_pool1d_with_indices.default": _pooled(1),
    "aten.max_pool2d_with_indices.default": _pooled(2),
    "aten.max_pool3d_with_indices.default": _pooled(3),
    "aten.adaptive_max_pool1d.default": _pooled(1),
    "aten.adaptive_max_pool2d.default": _pooled(2),
    "aten.adaptive_max_pool3d.default": _pooled(3),
    "aten.max_unpool2d.default": _unpooled(2),
    "aten.max_unpool3d.default": _unpooled(3),
}
