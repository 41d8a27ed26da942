"""Entries of one axis cut out, joined, turned, repeated, padded: at places known beforehand."""

from __future__ import annotations

import numpy as np
from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.pool import whole_maps
from igc.ops.relations import Concat, Follow, Opaque, Pointwise, Survives, Take
from igc.program.schema import argument, bind


def cat(node: fx.Node, facts: Facts) -> Concat | Pointwise:
    """cat(tensors, axis); empty ones, as old networks begin a list with, are left out."""
    tensors = [t for t in argument(node, "tensors") if 0 not in facts.shape(t)]
    rank = len(facts.shape(node))
    axis = int(argument(node, "dim")) % rank
    if any(facts.dynamic(t)[axis] for t in tensors):  # only the other axes can be cut
        others = tuple(None if a == axis else a for a in range(rank))
        operands = tuple(Follow(t, others) for t in tensors)
        return Pointwise(operands, fixed=frozenset({axis}))
    return Concat(axis, tuple(tensors))


def taken(
    node: fx.Node, facts: Facts, axis: int, index: object, drops: bool = False
) -> Take | Pointwise:
    """The operand's entries `index` of an axis; the whole axis where the input chooses its size."""
    x = operand(node, "self")
    axis %= len(facts.shape(x))
    if facts.dynamic(x)[axis]:
        return whole(node, facts, axis, drops=drops)
    return Take(x, axis, np.asarray(index, dtype=np.int64), drops)


def whole(node: fx.Node, facts: Facts, *along: int, drops: bool = False) -> Pointwise:
    """An op along axes whose entries are not known one by one: only the others can be cut."""
    x = operand(node, "self")
    rank = len(facts.shape(x))
    axes = {int(a) % rank for a in along}
    follow = tuple(None if a in axes else a - (drops and a > min(axes)) for a in range(rank))
    fixed = frozenset() if drops else frozenset(axes)
    return Pointwise((Follow(x, follow),), fixed=fixed, survives="same")


def _size(node: fx.Node, facts: Facts, axis: int) -> int:
    return facts.shape(operand(node, "self"))[axis]


def slice_(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """slice(x, axis, start, end, step)."""
    args = bind(node)
    axis, start, end, step = int(args["dim"]), args["start"], args["end"], int(args["step"])
    if isinstance(start, fx.Node) or isinstance(end, fx.Node):
        return whole(node, facts, axis)
    return taken(node, facts, axis, range(_size(node, facts, axis))[start:end:step])


def narrow(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """narrow(x, axis, start, length); a start below zero counts from the end."""
    args = bind(node)
    axis, start, length = int(args["dim"]), args["start"], args["length"]
    if not isinstance(start, int) or not isinstance(length, int):
        return whole(node, facts, axis)
    start %= max(_size(node, facts, axis), 1)
    return taken(node, facts, axis, range(start, start + length))


def select(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """select(x, axis, index): the axis goes."""
    axis, index = int(argument(node, "dim")), argument(node, "index")
    if not isinstance(index, int):
        return whole(node, facts, axis, drops=True)
    return taken(node, facts, axis, [index % _size(node, facts, axis)], drops=True)


def flip(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """flip(x, axes): one axis is a take, several stay whole."""
    axes = list(argument(node, "dims"))
    if len(axes) != 1:
        return whole(node, facts, *axes)
    return taken(node, facts, axes[0], range(_size(node, facts, axes[0]) - 1, -1, -1))


def roll(node: fx.Node, facts: Facts) -> Take | Pointwise | Opaque:
    """roll(x, shifts, axes): one axis is a take, several stay whole."""
    shifts, axes = argument(node, "shifts"), argument(node, "dims")
    if not axes:
        return Opaque("roll of the flattened tensor")
    shift = shifts[0] if isinstance(shifts, (list, tuple)) else shifts
    if len(axes) != 1 or not isinstance(shift, int):
        return whole(node, facts, *axes)
    return taken(node, facts, axes[0], np.roll(np.arange(_size(node, facts, axes[0])), shift))


def channel_shuffle(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """channel_shuffle(x, groups): a fixed permutation of axis 1."""
    order = np.arange(_size(node, facts, 1)).reshape(int(argument(node, "groups")), -1)
    return taken(node, facts, 1, order.T.reshape(-1))


def repeat(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """repeat(x, counts): one axis repeated is a take; what is repeated otherwise stays whole."""
    x, counts = operand(node, "self"), list(argument(node, "repeats"))
    shape, new = facts.shape(x), len(counts) - len(facts.shape(x))
    many = [a for a, c in enumerate(counts) if c != 1]
    if new == 0 and len(many) == 1 and isinstance(counts[many[0]], int):
        axis = many[0]
        return taken(node, facts, axis, np.tile(np.arange(shape[axis]), counts[axis]))
    follow = tuple(None if a + new in many else a + new for a in range(len(shape)))
    return Pointwise((Follow(x, follow),), fixed=frozenset({*range(new), *many}), survives="same")


def repeat_interleave(node: fx.Node, facts: Facts) -> Take | Pointwise | Opaque:
    """repeat_interleave(x, count, axis)."""
    count, axis = argument(node, "repeats"), argument(node, "dim")
    if not isinstance(count, int) or not isinstance(axis, int):
        return Opaque("repeat_interleave of the flattened tensor")
    return taken(node, facts, axis, np.repeat(np.arange(_size(node, facts, axis)), count))


def pad(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """pad(x, [last axis before, after, the one before that ...], mode, value)."""
    args = bind(node)
    x, amounts = operand(node, "self"), args["pad"]
    assert isinstance(amounts, (list, tuple))
    value = args["value"] or 0.0
    rank = len(facts.shape(node))
    padded = [
        rank - 1 - i
        for i in range(len(amounts) // 2)
        if amounts[2 * i] != 0 or amounts[2 * i + 1] != 0
    ]
    constant = args.get("mode", "constant") == "constant"
    if constant and len(padded) == 1 and not facts.dynamic(node)[padded[0]]:
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
    "aten.cat.default": cat,
    "aten.slice.Tensor": slice_,
    "aten.narrow.default": narrow,
    "aten.select.int": select,
    "aten.flip.default": flip,
    "aten.roll.default": roll,
    "aten.channel_shuffle.default": channel_shuffle,
    "aten.repeat.default": repeat,
    "aten.repeat_interleave.self_int": repeat_interleave,
    "aten.pad.default": pad,
    "aten.constant_pad_nd.default": pad,
    **{f"aten.reflection_pad{n}d.default": whole_maps(n) for n in (1, 2, 3)},
    **{f"aten.replication_pad{n}d.default": whole_maps(n) for n in (1, 2, 3)},
}
