"""Ops that move values: cat, slices, reshapes, permutations, shuffles, windows."""

from __future__ import annotations

from math import prod

import numpy as np
from torch import fx

from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import (
    Blocks,
    Concat,
    Follow,
    Opaque,
    Pointwise,
    Regroup,
    Take,
)
from igc.program.nodes import args_of


def _operand(node: fx.Node) -> fx.Node:
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    return x


def cat(node: fx.Node, facts: Facts) -> Concat | Pointwise:
    """cat(tensors, axis); empty ones, as old networks begin a list with, are left out."""
    tensors = [t for t in args_of(node)[0] if 0 not in facts.shape(t)]
    rank = len(facts.shape(node))
    axis = int(argument(node, 1, "dim", 0)) % rank
    if any(facts.dynamic(t)[axis] for t in tensors):  # only the other axes can be cut
        others = tuple(None if a == axis else a for a in range(rank))
        operands = tuple(Follow(t, others) for t in tensors)
        return Pointwise(operands, fixed=frozenset({axis}))
    return Concat(axis, tuple(tensors))


def _take(
    node: fx.Node, facts: Facts, axis: int, index: object, drops: bool = False
) -> Take | Pointwise:
    x = _operand(node)
    axis %= len(facts.shape(x))
    if facts.dynamic(x)[axis]:
        return _whole(node, facts, axis, drops=drops)
    return Take(x, axis, np.asarray(index, dtype=np.int64), drops)


def _whole(node: fx.Node, facts: Facts, *along: int, drops: bool = False) -> Pointwise:
    """An op along axes whose entries are not known one by one: only the others can be cut."""
    x = _operand(node)
    rank = len(facts.shape(x))
    axes = {int(a) % rank for a in along}
    follow = tuple(None if a in axes else a - (drops and a > min(axes)) for a in range(rank))
    fixed = frozenset() if drops else frozenset(axes)
    return Pointwise((Follow(x, follow),), fixed=fixed, survives="same")


def slice_(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """slice(x, axis, start, end, step)."""
    x = _operand(node)
    axis = int(argument(node, 1, "dim", 0))
    start, end = argument(node, 2, "start"), argument(node, 3, "end")
    step = int(argument(node, 4, "step", 1))
    if isinstance(start, fx.Node) or isinstance(end, fx.Node):
        return _whole(node, facts, axis)
    size = facts.shape(x)[axis]
    return _take(node, facts, axis, range(*slice(start, end, step).indices(size)))


def narrow(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """narrow(x, axis, start, length); a start below zero counts from the end."""
    axis, start, length = args_of(node)[1:4]
    if not isinstance(start, int) or not isinstance(length, int):
        return _whole(node, facts, int(axis))
    start %= max(facts.shape(_operand(node))[axis], 1)
    return _take(node, facts, int(axis), range(start, start + length))


def select(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """select(x, axis, index): the axis goes."""
    axis, index = int(args_of(node)[1]), args_of(node)[2]
    if not isinstance(index, int):
        return _whole(node, facts, axis, drops=True)
    size = facts.shape(_operand(node))[axis]
    return _take(node, facts, axis, [index % size], drops=True)


def index_select(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """index_select(x, axis, index)."""
    axis, numbers = int(args_of(node)[1]), args_of(node)[2]
    index, x = facts.constant(numbers), _operand(node)
    if index is not None and not facts.dynamic(x)[axis]:
        return _take(node, facts, axis, index.reshape(-1).numpy())
    moved = _whole(node, facts, axis)
    return Pointwise((*moved.operands, Follow(numbers, (None,))), fixed=moved.fixed)


def index(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """x[..., i, ...]: a constant number or line of numbers, or any tables of them."""
    x, positions = _operand(node), list(args_of(node)[1])
    given = [i for i, p in enumerate(positions) if p is not None]
    numbers, axis = facts.constant(positions[given[0]]), given[0]
    if numbers is None or numbers.ndim > 1 or len(given) > 1 or facts.dynamic(x)[axis]:
        return _table(node, facts, given, [positions[i] for i in given])
    taken = numbers.reshape(-1).numpy() % facts.shape(x)[axis]
    return _take(node, facts, axis, taken, drops=numbers.ndim == 0)


def _table(node: fx.Node, facts: Facts, given: list[int], tables: list[fx.Node]) -> Pointwise:
    """Tables of numbers: their axes replace those they index, and stay whole."""
    x = _operand(node)
    wide = max(len(facts.shape(t)) for t in tables)
    together = given == list(range(given[0], given[0] + len(given)))
    start = given[0] if together else 0
    position, follow = 0, []
    for axis in range(len(facts.shape(x))):
        position += wide if position == start and (axis == start or not together) else 0
        follow.append(None if axis in given else position)
        position += axis not in given
    operands = [Follow(x, tuple(follow))]
    operands += [Follow(t, (None,) * len(facts.shape(t))) for t in tables]
    return Pointwise(tuple(operands), fixed=frozenset(range(start, start + wide)))


def flip(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """flip(x, axes): one axis is a take, several stay whole."""
    axes = list(args_of(node)[1])
    if len(axes) != 1:
        return _whole(node, facts, *axes)
    size = facts.shape(_operand(node))[axes[0]]
    return _take(node, facts, axes[0], range(size - 1, -1, -1))


def roll(node: fx.Node, facts: Facts) -> Take | Pointwise | Opaque:
    """roll(x, shifts, axes): one axis is a take, several stay whole."""
    shifts, axes = args_of(node)[1], argument(node, 2, "dims", [])
    if not axes:
        return Opaque("roll of the flattened tensor")
    shift = shifts[0] if isinstance(shifts, (list, tuple)) else shifts
    if len(axes) != 1 or not isinstance(shift, int):
        return _whole(node, facts, *axes)
    size = facts.shape(_operand(node))[axes[0]]
    return _take(node, facts, axes[0], np.roll(np.arange(size), shift))


def unfold(node: fx.Node, facts: Facts) -> Pointwise:
    """unfold(x, axis, size, step): windows along the axis, their entries on a new last axis."""
    x, axis = _operand(node), int(args_of(node)[1])
    rank = len(facts.shape(x))
    axis %= rank
    follow = tuple(None if a == axis else a for a in range(rank))
    return Pointwise((Follow(x, follow),), fixed=frozenset({axis, rank}), survives="same")


def channel_shuffle(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """channel_shuffle(x, groups): a fixed permutation of axis 1."""
    groups = args_of(node)[1]
    size = facts.shape(node)[1]
    order = np.arange(size).reshape(int(groups), -1).T.reshape(-1)
    return _take(node, facts, 1, order)


def repeat(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """repeat(x, counts): one axis repeated is a take; what is repeated otherwise stays whole."""
    x, counts = _operand(node), list(args_of(node)[1])
    shape, new = facts.shape(x), len(counts) - len(facts.shape(x))
    many = [a for a, c in enumerate(counts) if c != 1]
    if new == 0 and len(many) == 1 and isinstance(counts[many[0]], int):
        axis = many[0]
        return _take(node, facts, axis, np.tile(np.arange(shape[axis]), counts[axis]))
    follow = tuple(None if a + new in many else a + new for a in range(len(shape)))
    return Pointwise((Follow(x, follow),), fixed=frozenset({*range(new), *many}), survives="same")


def repeat_interleave(node: fx.Node, facts: Facts) -> Take | Pointwise | Opaque:
    """repeat_interleave(x, count, axis)."""
    count, axis = args_of(node)[1], argument(node, 2, "dim")
    if not isinstance(count, int) or not isinstance(axis, int):
        return Opaque("repeat_interleave of the flattened tensor")
    size = facts.shape(_operand(node))[axis]
    return _take(node, facts, axis, np.repeat(np.arange(size), count))


def permute(node: fx.Node, facts: Facts) -> Pointwise:
    """permute(x, order)."""
    x = _operand(node)
    order = [int(a) % len(facts.shape(x)) for a in args_of(node)[1]]
    inverse = [order.index(a) for a in range(len(order))]
    return Pointwise((Follow(x, tuple(inverse)),), survives="same")


def unsqueeze(node: fx.Node, facts: Facts) -> Pointwise:
    """unsqueeze(x, axis)."""
    x, rank = _operand(node), len(facts.shape(node))
    new = int(args_of(node)[1]) % rank
    kept = [a for a in range(rank) if a != new]
    return Pointwise((Follow(x, tuple(kept)),), fixed=frozenset({new}), survives="same")


def squeeze(node: fx.Node, facts: Facts) -> Pointwise | Opaque:
    """squeeze(x, axes) of axes that have size 1; capture names exactly those."""
    x = _operand(node)
    shape = facts.shape(x)
    given = argument(node, 1, "dim")
    gone = {a % len(shape) for a in ([given] if isinstance(given, int) else given)}
    if any(shape[a] != 1 or facts.dynamic(x)[a] for a in gone):
        return Opaque("squeeze of an axis that is not 1")  # slicing could make it 1
    position, follow = 0, []
    for axis in range(len(shape)):
        follow.append(None if axis in gone else position)
        position += axis not in gone
    return Pointwise((Follow(x, tuple(follow)),), survives="same")


def expand(node: fx.Node, facts: Facts) -> Pointwise:
    """expand(x, sizes): axes of size 1 are repeated."""
    x = _operand(node)
    return Pointwise((facts.follow(x, facts.shape(node)),), survives="same", sizes=1)


def reshape(node: fx.Node, facts: Facts) -> Regroup | Opaque:
    """reshape(x, sizes): axes split and merged in order, matched by their products."""
    x = _operand(node)
    groups = regroup(facts.shape(x), facts.shape(node))
    if groups is None or groups != regroup(facts.at_other[x].dims, facts.at_other[node].dims):
        return Opaque("reshape that crosses axes")
    return Regroup(x, groups, 1)


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


def pixel_shuffle(node: fx.Node, facts: Facts) -> Blocks:
    """pixel_shuffle(x, r): output channel c reads input channels c*r*r .. (c+1)*r*r."""
    return _pixels(node, facts, int(args_of(node)[1]) ** 2, 1)


def pixel_unshuffle(node: fx.Node, facts: Facts) -> Blocks:
    """pixel_unshuffle(x, r): output channels c*r*r .. (c+1)*r*r read input channel c."""
    return _pixels(node, facts, 1, int(args_of(node)[1]) ** 2)


def _pixels(node: fx.Node, facts: Facts, block_in: int, block_out: int) -> Blocks:
    rank = len(facts.shape(node))
    return Blocks(_operand(node), rank - 3, block_in, block_out,
                  fixed=frozenset({rank - 2, rank - 1}), survives="same")  # fmt: skip


def im2col(node: fx.Node, facts: Facts) -> Blocks:
    """im2col(x, kernel, ...): output channels c*k .. (c+1)*k, k = prod(kernel), read channel c."""
    return _windows(node, facts, 1, prod(args_of(node)[1]))


def col2im(node: fx.Node, facts: Facts) -> Blocks:
    """col2im(x, size, kernel, ...): channel c sums what channels c*k .. (c+1)*k hold of windows."""
    return _windows(node, facts, prod(args_of(node)[2]), 1)


def _windows(node: fx.Node, facts: Facts, block_in: int, block_out: int) -> Blocks:
    """Between images [..., C, H, W] and columns [..., C * k, positions]: only zeros stay known."""
    x, rank = _operand(node), len(facts.shape(node))
    axis = max(rank, len(facts.shape(x))) - 3  # an image has one axis more
    return Blocks(x, axis, block_in, block_out, fixed=frozenset(range(axis + 1, rank)),
                  survives="zero")  # fmt: skip


RULES: dict[str, Rule] = {
    "aten.cat.default": cat,
    "aten.slice.Tensor": slice_,
    "aten.narrow.default": narrow,
    "aten.select.int": select,
    "aten.index_select.default": index_select,
    "aten.index.Tensor": index,
    "aten.flip.default": flip,
    "aten.roll.default": roll,
    "aten.unfold.default": unfold,
    "aten.channel_shuffle.default": channel_shuffle,
    "aten.repeat.default": repeat,
    "aten.repeat_interleave.self_int": repeat_interleave,
    "aten.permute.default": permute,
    "aten.unsqueeze.default": unsqueeze,
    "aten.squeeze.dim": squeeze,
    "aten.squeeze.dims": squeeze,
    "aten.expand.default": expand,
    "aten.reshape.default": reshape,
    "aten.pixel_shuffle.default": pixel_shuffle,
    "aten.pixel_unshuffle.default": pixel_unshuffle,
    "aten.im2col.default": im2col,
    "aten.col2im.default": col2im,
}
