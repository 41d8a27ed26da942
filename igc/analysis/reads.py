"""What a node reads of its operands for given output channels, by its relation.

Channels are masks, one per axis of a value. Nothing here decides what is needed; a choice of output
channels is carried over to the operands, or widened to what the op can produce.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import fx

from igc.ops import Facts
from igc.ops.relations import Blocks, Concat, Follow, Mixing, Regroup, Take

Mask = NDArray[np.bool_]
Masks = tuple[Mask, ...]  # one per axis


def full(shape: tuple[int, ...]) -> Masks:
    """Everything of a value."""
    return tuple(np.ones(n, dtype=bool) for n in shape)


def whole_axes(kept: Masks, fixed: frozenset[int]) -> Masks:
    """The kept channels, with all of the fixed axes."""
    return tuple(np.ones_like(m) if a in fixed else m for a, m in enumerate(kept))


def followed(follow: Follow, kept: Masks, shape: tuple[int, ...]) -> Masks:
    """What an operand that follows the output contributes to the kept channels."""
    return tuple(
        np.ones(n, dtype=bool) if a is None else kept[a]
        for a, n in zip(follow.axes, shape, strict=True)
    )


def mixed_input(relation: Mixing, kept: Masks, columns: Mask, facts: Facts) -> Masks:
    """The channels of x that a contraction reads."""
    masks = list(followed(relation.x, kept, facts.shape(relation.x.node)))
    masks[relation.x_axis] = columns
    return tuple(masks)


def mixed_weight(relation: Mixing, kept: Masks, columns: Mask, facts: Facts) -> Masks:
    """The part of the weight that a contraction reads; with groups, see `GroupPlan`."""
    masks = list(followed(relation.weight, kept, facts.shape(relation.weight.node)))
    if relation.groups == 1:
        masks[relation.w_out] = kept[relation.out_axis]
        masks[relation.w_in] = columns
    return tuple(masks)


def pieces_of(relation: Concat, kept: Masks, facts: Facts) -> list[tuple[fx.Node, Masks]]:
    """What a concatenation reads of each operand."""
    start, found = 0, []
    for operand in relation.operands:
        width = facts.shape(operand)[relation.axis]
        part = kept[relation.axis][start : start + width]
        found.append((operand, (*kept[: relation.axis], part, *kept[relation.axis + 1 :])))
        start += width
    return found


def taken(relation: Take, kept: Masks, shape: tuple[int, ...]) -> Masks:
    """What a take reads of its operand."""
    mask = np.zeros(shape[relation.axis], dtype=bool)
    wanted = relation.index if relation.drops else relation.index[kept[relation.axis]]
    mask[wanted[wanted >= 0]] = True
    rest = kept[relation.axis :] if relation.drops else kept[relation.axis + 1 :]
    return (*kept[: relation.axis], mask, *rest)


def rectangular(relation: Regroup, node: fx.Node, kept: Masks, facts: Facts) -> Masks:
    """Widen merged axes so that what is kept stays a rectangle before the merge."""
    result = list(kept)
    before = facts.shape(relation.x)
    for into, out in relation.groups:
        whole = (
            any(facts.dynamic(relation.x)[a] for a in into)
            or any(facts.dynamic(node)[a] for a in out)
            or (len(into) != 1 and len(out) != 1)
        )
        if whole:
            for a in out:
                result[a] = np.ones_like(result[a])
        elif len(out) == 1 and len(into) > 1:
            box = result[out[0]].reshape([before[a] for a in into])
            sides = [_side(box, a)
                     for a in range(box.ndim)]  # fmt: skip
            result[out[0]] = _outer(sides)
    return tuple(result)


def _side(box: Mask, axis: int) -> Mask:
    """Which positions of one axis hold anything."""
    return np.asarray(box.any(axis=tuple(b for b in range(box.ndim) if b != axis)))


def _outer(sides: list[Mask]) -> Mask:
    box = np.ones((1,), dtype=bool)
    for side in sides:
        box = np.logical_and.outer(box, side).reshape(-1)
    return box


def regrouped(relation: Regroup, node: fx.Node, kept: Masks, facts: Facts) -> Masks:
    """What a reshape reads of its operand, for rectangular kept channels."""
    before = facts.shape(relation.x)
    masks = list(full(before))
    for into, out in relation.groups:
        if len(into) == 1 and out:
            masks[into[0]] = _outer([kept[a] for a in out])
        elif len(out) == 1 and into:
            box = kept[out[0]].reshape([before[a] for a in into])
            for i, a in enumerate(into):
                masks[a] = _side(box, i)
    return tuple(masks)


def whole_blocks(relation: Blocks, kept: Masks) -> Masks:
    """The kept channels, with all of every block that has one."""
    blocks = kept[relation.axis].reshape(-1, relation.out_block).any(axis=1)
    whole = np.repeat(blocks, relation.out_block)
    return (*kept[: relation.axis], whole, *kept[relation.axis + 1 :])


def blocks_of(relation: Blocks, kept: Masks, shape: tuple[int, ...]) -> Masks:
    """What a block-wise op reads of its operand."""
    blocks = kept[relation.axis].reshape(-1, relation.out_block).any(axis=1)
    follow = {a for a in range(len(kept)) if a not in relation.fixed}
    masks = [kept[a] if a in follow else np.ones(n, dtype=bool) for a, n in enumerate(shape)]
    masks[relation.axis] = np.repeat(blocks, relation.in_block)
    return tuple(masks)
