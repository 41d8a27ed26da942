"""Ops that move values without changing them: cat, slices, reshapes, permutations, shuffles."""

from __future__ import annotations

import numpy as np
from torch import fx

from igc.graph import args_of
from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import (
    Blocks,
    Concat,
    Follow,
    Opaque,
    Pointwise,
    Regroup,
    Relation,
    Take,
)


def _operand(node: fx.Node) -> fx.Node:
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    return x


def cat(node: fx.Node, facts: Facts) -> Relation:
    """cat(tensors, axis)."""
    tensors = [t for t in args_of(node)[0] if isinstance(t, fx.Node)]
    rank = len(facts.shape(node))
    axis = int(argument(node, 1, "dim", 0)) % rank
    if any(len(facts.shape(t)) != rank for t in tensors):
        return Opaque("cat of different ranks")
    if any(facts.dynamic(t)[axis] for t in tensors):  # only the other axes can be cut
        others = tuple(None if a == axis else a for a in range(rank))
        operands = tuple(Follow(t, others) for t in tensors)
        return Pointwise(operands, fixed=frozenset({axis}))
    return Concat(axis, tuple(tensors))


def _take(node: fx.Node, facts: Facts, axis: int, index: object, drops: bool = False) -> Relation:
    x = _operand(node)
    axis %= len(facts.shape(x))
    if facts.dynamic(x)[axis]:
        return Opaque("indexing along a dynamic axis")
    return Take(x, axis, np.asarray(index, dtype=np.int64), drops)


def slice_(node: fx.Node, facts: Facts) -> Relation:
    """slice(x, axis, start, end, step)."""
    x = _operand(node)
    axis = int(argument(node, 1, "dim", 0))
    start, end = argument(node, 2, "start"), argument(node, 3, "end")
    step = int(argument(node, 4, "step", 1))
    if isinstance(start, fx.Node) or isinstance(end, fx.Node):
        return Opaque("slice with a dynamic bound")
    axis %= len(facts.shape(x))
    if facts.dynamic(x)[axis]:
        follow = tuple(None if a == axis else a for a in range(len(facts.shape(x))))
        return Pointwise((Follow(x, follow),), fixed=frozenset({axis}), survives="same")
    size = facts.shape(x)[axis]
    return _take(node, facts, axis, range(*slice(start, end, step).indices(size)))


def narrow(node: fx.Node, facts: Facts) -> Relation:
    """narrow(x, axis, start, length)."""
    axis, start, length = args_of(node)[1:4]
    if not all(isinstance(v, int) for v in (axis, start, length)):
        return Opaque("narrow with a dynamic bound")
    return _take(node, facts, int(axis), range(int(start), int(start) + int(length)))


def select(node: fx.Node, facts: Facts) -> Relation:
    """select(x, axis, index): the axis goes."""
    axis, index = args_of(node)[1], args_of(node)[2]
    if not isinstance(axis, int) or not isinstance(index, int):
        return Opaque("select with a dynamic index")
    size = facts.shape(_operand(node))[axis]
    return _take(node, facts, axis, [index % size], drops=True)


def index_select(node: fx.Node, facts: Facts) -> Relation:
    """index_select(x, axis, index) with a constant index."""
    index = facts.constant(args_of(node)[2])
    if index is None:
        return Opaque("index_select with an index that depends on the input")
    return _take(node, facts, int(args_of(node)[1]), index.reshape(-1).numpy())


def index(node: fx.Node, facts: Facts) -> Relation:
    """x[..., i, ...] with one constant one-dimensional index tensor."""
    positions = list(args_of(node)[1])
    given = [i for i, p in enumerate(positions) if p is not None]
    tensor = facts.constant(positions[given[0]]) if len(given) == 1 else None
    if tensor is None or tensor.ndim != 1 or tensor.dtype.is_floating_point:
        return Opaque("indexing with several, multi-dimensional or computed indices")
    axis = given[0]
    numbers = tensor.nonzero().reshape(-1) if str(tensor.dtype) == "torch.bool" else tensor
    return _take(node, facts, axis, numbers.numpy() % facts.shape(_operand(node))[axis])


def flip(node: fx.Node, facts: Facts) -> Relation:
    """flip(x, [axis])."""
    axes = list(args_of(node)[1])
    if len(axes) != 1:
        return Opaque("flip of several axes")
    size = facts.shape(_operand(node))[axes[0]]
    return _take(node, facts, axes[0], range(size - 1, -1, -1))


def roll(node: fx.Node, facts: Facts) -> Relation:
    """roll(x, [shift], [axis])."""
    shifts, axes = args_of(node)[1], argument(node, 2, "dims", [])
    if len(axes) != 1 or not isinstance(shifts, (list, tuple)) or not isinstance(shifts[0], int):
        return Opaque("roll of several axes")
    size = facts.shape(_operand(node))[axes[0]]
    return _take(node, facts, axes[0], np.roll(np.arange(size), shifts[0]))


def channel_shuffle(node: fx.Node, facts: Facts) -> Relation:
    """channel_shuffle(x, groups): a fixed permutation of axis 1."""
    groups = args_of(node)[1]
    size = facts.shape(node)[1]
    order = np.arange(size).reshape(int(groups), -1).T.reshape(-1)
    return _take(node, facts, 1, order)


def repeat(node: fx.Node, facts: Facts) -> Relation:
    """repeat(x, counts) where one axis of a tensor of the same rank is repeated."""
    x, counts = _operand(node), list(args_of(node)[1])
    shape = facts.shape(x)
    many = [a for a, c in enumerate(counts) if c != 1]
    if len(counts) != len(shape) or len(many) != 1 or not isinstance(counts[many[0]], int):
        return Opaque("repeat of several axes")
    axis = many[0]
    return _take(node, facts, axis, np.tile(np.arange(shape[axis]), counts[axis]))


def repeat_interleave(node: fx.Node, facts: Facts) -> Relation:
    """repeat_interleave(x, count, axis)."""
    count, axis = args_of(node)[1], argument(node, 2, "dim")
    if not isinstance(count, int) or not isinstance(axis, int):
        return Opaque("repeat_interleave with computed counts")
    size = facts.shape(_operand(node))[axis]
    return _take(node, facts, axis, np.repeat(np.arange(size), count))


def permute(node: fx.Node, facts: Facts) -> Relation:
    """permute(x, order)."""
    x = _operand(node)
    order = [int(a) % len(facts.shape(x)) for a in args_of(node)[1]]
    inverse = [order.index(a) for a in range(len(order))]
    return Pointwise((Follow(x, tuple(inverse)),), survives="same")


def unsqueeze(node: fx.Node, facts: Facts) -> Relation:
    """unsqueeze(x, axis)."""
    x, rank = _operand(node), len(facts.shape(node))
    new = int(args_of(node)[1]) % rank
    kept = [a for a in range(rank) if a != new]
    return Pointwise((Follow(x, tuple(kept)),), fixed=frozenset({new}), survives="same")


def squeeze(node: fx.Node, facts: Facts) -> Relation:
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


def expand(node: fx.Node, facts: Facts) -> Relation:
    """expand(x, sizes): axes of size 1 are repeated."""
    x = _operand(node)
    return Pointwise((facts.follow(x, facts.shape(node)),), survives="same", sizes=1)


def reshape(node: fx.Node, facts: Facts) -> Relation:
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


def pixel_shuffle(node: fx.Node, facts: Facts) -> Relation:
    """pixel_shuffle(x, r): output channel c reads input channels c*r*r .. (c+1)*r*r."""
    return _pixels(node, facts, int(args_of(node)[1]) ** 2, 1)


def pixel_unshuffle(node: fx.Node, facts: Facts) -> Relation:
    """pixel_unshuffle(x, r): output channels c*r*r .. (c+1)*r*r read input channel c."""
    return _pixels(node, facts, 1, int(args_of(node)[1]) ** 2)


def _pixels(node: fx.Node, facts: Facts, block_in: int, block_out: int) -> Relation:
    rank = len(facts.shape(node))
    return Blocks(_operand(node), rank - 3, block_in, block_out,
                  fixed=frozenset({rank - 2, rank - 1}))  # fmt: skip


RULES: dict[str, Rule] = {
    "aten.cat.default": cat,
    "aten.slice.Tensor": slice_,
    "aten.narrow.default": narrow,
    "aten.select.int": select,
    "aten.index_select.default": index_select,
    "aten.index.Tensor": index,
    "aten.flip.default": flip,
    "aten.roll.default": roll,
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
}
