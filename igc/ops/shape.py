"""Axes permuted, split, merged, added, dropped, expanded: the same entries in another shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Follow, Opaque, Pointwise, Regroup
from igc.program.schema import argument


def permute(node: fx.Node, facts: Facts) -> Pointwise:
    """permute(x, order)."""
    x = operand(node, "self")
    order = [int(a) % len(facts.shape(x)) for a in argument(node, "dims")]
    inverse = [order.index(a) for a in range(len(order))]
    return Pointwise((Follow(x, tuple(inverse)),), survives="same")


def unsqueeze(node: fx.Node, facts: Facts) -> Pointwise:
    """unsqueeze(x, axis)."""
    x, rank = operand(node, "self"), len(facts.shape(node))
    new = int(argument(node, "dim")) % rank
    kept = [a for a in range(rank) if a != new]
    return Pointwise((Follow(x, tuple(kept)),), fixed=frozenset({new}), survives="same")


def squeeze(node: fx.Node, facts: Facts) -> Pointwise | Opaque:
    """squeeze(x, axes) of axes that have size 1; capture names exactly those."""
    x = operand(node, "self")
    shape = facts.shape(x)
    given = argument(node, "dim")
    gone = {a % len(shape) for a in ([given] if isinstance(given, int) else given)}
    if any(shape[a] != 1 or facts.dynamic(x)[a] for a in gone):
        return Opaque("squeeze of an axis that is not 1")  # slicing could make it 1
    position, follow = 0, []
    for axis in range(len(shape)):
        follow.append(None if axis in gone else position)
        position += axis not in gone
    return Pointwise((Follow(x, tuple(follow)),), survives="same")


def expand(node: fx.Node, facts: Facts) -> Pointwise:
    """expand(x, sizes): axes of size 1 are repeated; zero channels of a constant are known."""
    x = operand(node, "self")
    follow = facts.follow(x, facts.shape(node))
    known = _zeros(node, follow, facts)
    return Pointwise((follow,), survives="same", sizes="size", known=known)


def _zeros(
    node: fx.Node, follow: Follow, facts: Facts
) -> tuple[int, NDArray[np.bool_], NDArray[np.float64]] | None:
    """The channels of an expanded constant that are 0, along the axis where channels lie."""
    constant, shape, axis = facts.constant(follow.node), facts.shape(node), facts.usual_axis(node)
    if constant is None or axis is None or not constant.numel():
        return None
    own = [a for a, to in enumerate(follow.axes) if to == axis]
    others = [a for a in range(constant.ndim) if a not in own]
    zero = (constant == 0).all(dim=others) if others else constant == 0
    mask = np.broadcast_to(zero.reshape(-1).numpy(), (shape[axis],)).copy()
    return (axis, mask, np.zeros(shape[axis])) if mask.any() else None


def reshape(node: fx.Node, facts: Facts) -> Regroup | Opaque:
    """reshape(x, sizes): axes split and merged in order, matched by their products."""
    x = operand(node, "self")
    groups, *others = (regroup(at[x].dims, at[node].dims) for at in facts.points)
    if groups is None or any(groups != other for other in others):
        return Opaque("reshape that crosses axes")
    return Regroup(x, groups, "shape")


def regroup(
    before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] | None:
    """The smallest groups of axes of equal product, in order; `None` if sizes do not match."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [], []
        a = b = 1
        if i < len(before):
            left, a, i = [i], before[i], i + 1
        if j < len(after):
            right, b, j = [j], after[j], j + 1
        while a != b:
            if a < b and i < len(before):
                left, a, i = [*left, i], a * before[i], i + 1
            elif b < a and j < len(after):
                right, b, j = [*right, j], b * after[j], j + 1
            else:
                return None
        groups.append((tuple(left), tuple(right)))
    return tuple(groups)


RULES: dict[str, Rule] = {
    "aten.permute.default": permute,
    "aten.unsqueeze.default": unsqueeze,
    "aten.squeeze.dim": squeeze,
    "aten.squeeze.dims": squeeze,
    "aten.expand.default": expand,
    "aten.reshape.default": reshape,
}
