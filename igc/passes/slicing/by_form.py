"""Compute a value from its form: copies by concatenate and gather, mixes by multiply and add.

J = cat(psi, phi_1 .. phi_T)      one gather per branch, in natural channel order
mixed channels: w_1 * gather(J) + w_2 * gather(J) + ...   only where the operands differ
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from igc.analysis.form import Form, Piece
from igc.analysis.reads import Masks
from igc.passes.slicing.state import Slicer
from igc.program.recipe import Known, Part, Recipe, Slope, Twin

aten = torch.ops.aten
Numbers = NDArray[np.int64]


def materialize(slicer: Slicer, node: fx.Node, form: Form, masks: Masks) -> fx.Node:
    """The masked channels of `node`, built from the sources of its form."""
    assert form.axis is not None
    wanted = np.flatnonzero(masks[form.axis])
    pieces = [Piece(p.source, p.index[wanted], p.coefficient[wanted]) for p in form.pieces]
    pieces = [p for p in pieces if p.coefficient.any()]
    part = Form(form.axis, tuple(pieces), form.shift[wanted], form.written[wanted])
    return _Maker(slicer, node, part, masks, wanted).run()


class _Maker:
    def __init__(
        self, slicer: Slicer, node: fx.Node, form: Form, masks: Masks, channels: Numbers
    ) -> None:
        assert form.axis is not None
        self.channels = channels  # of the node, one for each of the form
        self.slicer, self.node, self.form, self.masks = slicer, node, form, masks
        self.axis: int = form.axis
        self.meta: dict[str, Any] = node.meta
        self.size = len(form.shift)

    def run(self) -> fx.Node:
        constant, copies = self.form.constant, self.form.copies
        mixed = ~(constant | copies)
        if mixed.all():
            return self.mix(np.flatnonzero(mixed))
        parts: list[tuple[fx.Node, int]] = []
        part = np.zeros(self.size, dtype=np.int64)
        at = np.zeros(self.size, dtype=np.int64)
        for piece in self.form.pieces:
            mine = copies & (piece.coefficient != 0)
            if mine.any():
                self._add(parts, part, at, mine, *self.source(piece, mine))
        if mixed.any():
            channels = np.flatnonzero(mixed)
            self._add(
                parts, part, at, mixed, self.mix(channels), np.arange(len(channels)), len(channels)
            )
        if constant.any():
            values, first, inverse = np.unique(
                self.form.shift[constant], return_index=True, return_inverse=True
            )
            numbers = self._first(self.node, self.channels[constant][first].tolist())
            recipe = Known(first_name(self.node), self.axis, numbers)
            filled = fill(self.slicer, self.node, self.axis, self.masks, values, recipe)
            self._add(parts, part, at, constant, filled, inverse, len(values))
        return self.slicer.build.gather(self.meta, self.axis, parts, part, at)

    @staticmethod
    def _add(
        parts: list[tuple[fx.Node, int]],
        part: Numbers,
        at: Numbers,
        mine: NDArray[np.bool_],
        node: fx.Node,
        where: Numbers,
        width: int,
    ) -> None:
        part[mine] = len(parts)
        at[mine] = where
        parts.append((node, width))

    def source(self, piece: Piece, mine: NDArray[np.bool_]) -> tuple[fx.Node, Numbers, int]:
        """A source cut like this node on the other axes, whole along the form's axis."""
        kept = self.slicer.live.kept[piece.source][self.axis].copy()
        kept[piece.index[mine]] = True  # nothing is kept of a source that is constant
        masks = (*self.masks[: self.axis], kept, *self.masks[self.axis + 1 :])
        node = self.slicer.value(piece.source, masks)
        position = np.cumsum(kept) - 1
        return node, position[piece.index[mine]], int(kept.sum())

    def mix(self, channels: Numbers) -> fx.Node:
        """The sum of terms for these channels."""
        total: fx.Node | None = None
        for slot in _slots(
            [p for p in self.form.pieces if p.coefficient[channels].any()], channels
        ):
            term = self._slot(slot, channels)
            total = term if total is None else self.call(aten.add.Tensor, total, term)
        shift = self.form.shift[channels]
        assert total is not None
        if shift.any():
            recipe = self.slope(channels, [])
            total = self.call(aten.add.Tensor, total, self.vector(shift, recipe))
        return total

    def _slot(self, slot: list[Piece], channels: Numbers) -> fx.Node:
        part = np.zeros(len(channels), dtype=np.int64)
        at = np.zeros(len(channels), dtype=np.int64)
        weight = np.zeros(len(channels))
        parts: list[tuple[fx.Node, int]] = []
        for piece in slot:
            mine = piece.coefficient[channels] != 0
            picked = np.zeros(self.size, dtype=bool)
            picked[channels[mine]] = True
            self._add(parts, part, at, mine, *self.source(piece, picked))
            weight[mine] = piece.coefficient[channels][mine]
        node = self.slicer.build.gather(self.meta, self.axis, parts, part, at)
        if bool((weight == 1).all()):
            return node
        return self.call(aten.mul.Tensor, node, self.vector(weight, self.slope(channels, slot)))

    def call(self, target: Any, *args: Any) -> fx.Node:
        return self.slicer.build.call(self.meta, target, *args)

    def vector(self, values: NDArray[np.float64], recipe: Recipe) -> fx.Node:
        return vector(self.slicer, self.node, self.axis, len(self.masks), values, recipe)

    def slope(self, channels: Numbers, slot: list[Piece]) -> Recipe:
        """The recipe of the coefficients of a slot, or of the shift where the slot is empty."""
        active = np.stack([p.coefficient[channels] != 0 for p in self.form.pieces])
        names = [first_name(p.source) for p in self.form.pieces]
        twins = [self.slicer.twins(p.source) for p in self.form.pieces]
        parts = []
        pieces: list[Piece | None] = [*slot] if slot else [None]
        for piece in pieces:
            mine = np.ones(len(channels), dtype=bool)
            if piece is not None:
                mine = piece.coefficient[channels] != 0
            for pattern in np.unique(active[:, mine], axis=1).T:
                at = np.flatnonzero(mine & (active == pattern[:, None]).all(axis=0))
                sources = {n for n, on in zip(names, pattern, strict=True) if on}
                equal = [t for ts, on in zip(twins, pattern, strict=True) if on for t in ts]
                sources |= {first_name(other) for other, _ in equal}
                picks = () if piece is None else tuple(piece.index[channels][at].tolist())
                source = "" if piece is None else first_name(piece.source)
                here = self._first(self.node, self.channels[channels[at]].tolist())
                same = () if piece is None else self._same(piece, picks)
                if piece is not None:
                    picks = self._first(piece.source, picks)
                there = tuple(at.tolist())
                parts.append(Part(there, here, tuple(sorted(sources)), source, picks, same))
        return Slope(first_name(self.node), self.axis, len(channels), tuple(parts))

    def _first(self, node: fx.Node, channels: Sequence[int]) -> tuple[int, ...]:
        """Channels of a node as those of the first graph's node that it holds a part of."""
        held = node.meta.get("kept", {}).get(self.axis)
        return tuple(channels) if held is None else tuple(held[c] for c in channels)

    def _same(self, piece: Piece, picks: tuple[int, ...]) -> tuple[Twin, ...]:
        """Channels of other nodes that equal the picked ones."""
        found = []
        for other, copies in self.slicer.twins(piece.source):
            pairs = [(i, c) for i, k in enumerate(picks) for c in copies.get(k, ())]
            if pairs:
                places, picked = zip(*pairs, strict=True)
                found.append(Twin(first_name(other), places, self._first(other, picked)))
        return tuple(found)


def first_name(node: fx.Node) -> str:
    """The name of the first graph's node that a node is, or holds a part of."""
    return str(node.meta.get("source", node.name))


def vector(
    slicer: Slicer,
    node: fx.Node,
    axis: int,
    rank: int,
    values: NDArray[np.float64],
    recipe: Recipe | None = None,
) -> fx.Node:
    """One number per channel, shaped to broadcast along an axis of a value of this rank.

    It has the type of `node`: a network may compute a part of itself in a narrower one.
    """
    shape = [1] * rank
    shape[axis] = len(values)
    # Kept in float64: emission rounds once.
    tensor = torch.from_numpy(np.array(values, dtype=np.float64)).reshape(shape)
    own = slicer.facts.at[node].dtype
    return slicer.build.constant(node.meta, "coefficient", tensor, recipe, own)


def fill(
    slicer: Slicer,
    node: fx.Node,
    axis: int,
    masks: Masks,
    values: NDArray[np.float64],
    recipe: Recipe | None = None,
) -> fx.Node:
    """Channels that hold one number each, at the size of `node`."""
    dynamic = slicer.facts.dynamic(node)
    sizes: list[Any] = [
        slicer.size(node, a) if dynamic[a] else int(m.sum()) for a, m in enumerate(masks)
    ]
    sizes[axis] = len(values)
    line = vector(slicer, node, axis, len(masks), values, recipe)
    return slicer.build.call(node.meta, aten.expand.default, line, sizes)


def _slots(pieces: list[Piece], channels: Numbers) -> list[list[Piece]]:
    """Pieces packed so that each channel takes at most one of a slot; whole pieces stay alone."""
    slots: list[tuple[NDArray[np.bool_], list[Piece]]] = []
    for piece in pieces:
        mine = piece.coefficient[channels] != 0
        for i, (taken, members) in enumerate(slots):
            if not (taken & mine).any():
                slots[i] = (taken | mine, [*members, piece])
                break
        else:
            slots.append((mine, [piece]))
    return [members for _, members in slots]
