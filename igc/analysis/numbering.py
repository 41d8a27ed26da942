"""Value numbering by channel: where a node repeats what an earlier node computed.

Definition 6. Two channels are *equal* where the same op runs on equal operand channels with the
same rows of the same checkpoint tensors. Weights of two branches that merely hold the same numbers
are not the same tensor: they stay apart, so that each can be fine-tuned.

This is what makes a masked kernel minimal that several tasks apply to one input: the rows that they
share are computed once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from igc.analysis.form import Form, Forms, Piece
from igc.analysis.known import known_of
from igc.ops.relations import Follow, Mixing, Opaque, Pointwise, Relation, Select
from igc.program.nodes import call_of, mapped
from igc.program.schema import is_size

MAX_COMPARED = 256  # earlier nodes of one kind: as many branches as nobody has
Same = NDArray[np.bool_]  # per channel: equal or not
Signature = NDArray[np.float64]  # [operands, 2, channels]: which source, which of its channels


@dataclass
class Numbering:
    """The nodes seen so far, found by what they compute."""

    whole: dict[Any, fx.Node] = field(default_factory=dict)
    parts: dict[Any, list[fx.Node]] = field(default_factory=dict)
    ids: dict[Any, int] = field(default_factory=dict)
    signatures: dict[tuple[fx.Node, int], Signature | None] = field(default_factory=dict)

    def repeats(self, node: fx.Node, relation: Relation, forms: Forms) -> Form | None:
        """The form of a node some of whose channels equal earlier ones; `None` if none do."""
        if isinstance(relation, Opaque) and relation.reason == "several outputs":
            return None
        if isinstance(relation, Pointwise) and not relation.operands:
            return None  # made of sizes alone: as cheap as a copy, and its channels are known
        key = self._whole_key(node, forms)
        before = self.whole.setdefault(key, node)
        if before is not node:
            theirs = forms.form.get(before)
            if theirs is not None and theirs.partial:
                return replace(theirs, gains=True)
            one = np.ones(1)
            return Form(None, (Piece(before, np.zeros(1, dtype=np.int64), one),), np.zeros(1),
                        np.ones(1, dtype=np.int64), gains=True)  # fmt: skip
        if isinstance(relation, Select):
            relation = relation.written
        if isinstance(relation, Mixing):
            return self._rows(node, relation, forms)
        if isinstance(relation, Pointwise):
            return self._channels(node, relation, forms)
        return None

    def _id(self, key: Any) -> int:
        return self.ids.setdefault(key, len(self.ids))

    def canonical(self, node: fx.Node, forms: Forms) -> Any:
        """What a node is known as: the source it is a plain copy of, or a constant's source."""
        form = forms.form.get(node)
        if form is None or len(form.pieces) != 1 or not form.copies.all():
            return node
        (piece,) = form.pieces
        if form.axis is None:
            return piece.source
        size = forms.facts.shape(piece.source)[form.axis]
        if size == len(piece.index) and bool((piece.index == np.arange(size)).all()):
            return piece.source
        return node

    def _whole_key(self, node: fx.Node, forms: Forms) -> Any:
        args = mapped(node.args, lambda n: self.canonical(n, forms))
        kwargs = mapped(node.kwargs, lambda n: self.canonical(n, forms))
        return node.target, freeze(args), freeze(kwargs)

    def _rows(self, node: fx.Node, relation: Mixing, forms: Forms) -> Form | None:
        """Rows of a kernel that an earlier contraction of the same input has too."""
        facts = forms.facts
        weight = facts.constant(relation.weight.node)
        bias = None if relation.bias is None else facts.constant(relation.bias)
        if weight is None or (relation.bias is not None and bias is None):
            return None
        size = facts.shape(relation.x.node)[relation.x_axis]
        alone = relation.groups == size == facts.shape(node)[relation.out_axis]  # depthwise
        if relation.groups > 1 and not alone:
            return None
        key = (
            node.target,
            freeze(_without_tensors(node)),
            (relation.x_axis, relation.out_axis, relation.w_in, relation.w_out),
            "depthwise" if alone else identity(forms.read(relation.x.node, relation.x_axis, size)),
            source_of(relation.weight.node, forms),
            None if relation.bias is None else source_of(relation.bias, forms),
        )
        found: list[tuple[fx.Node, Same]] = []
        for before in self.parts.setdefault(key, [])[:MAX_COMPARED]:
            same = self._same_rows(relation, forms.relations[before], alone, forms)
            if same is not None:
                found.append((before, same))
        self.parts[key].append(node)
        return self._copies(node, relation.out_axis, found, forms)

    def _same_rows(self, mine: Mixing, other: Relation, alone: bool, forms: Forms) -> Same | None:
        """Which rows two contractions with one weight tensor have in common."""
        assert isinstance(other, Mixing)
        weight = forms.facts.constant(mine.weight.node)
        theirs = forms.facts.constant(other.weight.node)
        if weight is None or theirs is None or theirs.shape != weight.shape:
            return None
        rows = 0 if alone else mine.w_out
        axes = [rows, *(a for a in range(weight.ndim) if a != rows)]
        same = _array(torch.eq(weight, theirs).permute(axes).flatten(1).all(dim=1))
        if mine.bias is not None and other.bias is not None:
            a, b = forms.facts.constant(mine.bias), forms.facts.constant(other.bias)
            assert a is not None and b is not None
            same = same & _array(torch.eq(a, b))
        if alone:
            a_x, b_x = (
                self._operand(Follow(r.x.node, (*r.x.axes[:1], r.x_axis)), r.x_axis, forms)
                for r in (mine, other)
            )
            same = same & np.asarray(a_x == b_x).all(axis=0)
        return same

    def _channels(self, node: fx.Node, relation: Pointwise, forms: Forms) -> Form | None:
        """Channels of an element-by-element op that an earlier node has too."""
        axis = self._axis(relation, forms)
        sources = self._sources(relation, axis, forms)
        call = call_of(node)
        start = (call.target, freeze(_without_tensors(call)), freeze(_without_tensors(node)))
        found: list[tuple[fx.Node, Same]] = []
        earlier = dict.fromkeys(n for s in sources for n in self.parts.get((*start, s), ()))
        for before in itertools.islice(earlier, MAX_COMPARED):
            other = forms.relations[before]
            other = other.written if isinstance(other, Select) else other
            if axis is None or not isinstance(other, Pointwise):
                continue
            mine = self._signature_of(node, relation, axis, forms)
            theirs = self._signature_of(before, other, axis, forms)
            if mine is not None and theirs is not None and mine.shape == theirs.shape:
                same: Same = np.logical_and.reduce(np.asarray(mine == theirs), axis=(0, 1))
                if same.any():
                    found.append((before, same))
        for source in sources:
            self.parts.setdefault((*start, source), []).append(node)
        return None if axis is None else self._copies(node, axis, found, forms)

    def _axis(self, relation: Pointwise, forms: Forms) -> int | None:
        for follow in relation.operands:
            form = forms.form.get(follow.node)
            if form is not None and form.axis is not None:
                axis = follow.axes[form.axis]
                if axis is not None and axis not in relation.fixed:
                    return axis
        return None

    def _sources(self, relation: Pointwise, axis: int | None, forms: Forms) -> list[fx.Node]:
        """The nodes that the first varying operand reads."""
        for follow in relation.operands:
            if follow.node.op == "get_attr":
                continue
            if axis is None or axis not in follow.axes:
                return [follow.node]
            at = follow.axes.index(axis)
            size = forms.facts.shape(follow.node)[at]
            return [p.source for p in forms.read(follow.node, at, size).pieces]
        return []

    def _signature_of(
        self, node: fx.Node, relation: Pointwise, axis: int, forms: Forms
    ) -> Signature | None:
        """That of a node whose operands have their forms, worked out once."""
        key = (node, axis)
        if key not in self.signatures:
            self.signatures[key] = self._signature(relation, axis, forms)
        return self.signatures[key]

    def _signature(self, relation: Pointwise, axis: int, forms: Forms) -> Signature | None:
        rows = []
        for follow in relation.operands:
            row = self._operand(follow, axis, forms)
            if row is None:
                return None
            rows.append(row)
        width = max((r.shape[1] for r in rows), default=0)
        return np.stack([np.broadcast_to(r, (2, width)) for r in rows]) if rows else None

    def _operand(self, follow: Follow, axis: int, forms: Forms) -> Signature | None:
        node = follow.node
        if axis not in follow.axes:
            return np.array([[self._id(self.canonical(node, forms))], [0.0]])
        at = follow.axes.index(axis)
        size = forms.facts.shape(node)[at]
        constant = forms.facts.constant(node)
        if constant is not None:
            if constant.numel() != size:
                return np.array([[self._id(node)], [0.0]])
            name = self._id(("constant", source_of(node, forms)))
            return np.stack(
                [np.full(size, float(name)), constant.detach().double().reshape(-1).numpy()]
            )
        form = forms.read(node, at, size)
        row = np.full((2, size), -1.0)
        row[1] = form.shift
        copies, known = form.copies, form.constant
        for piece in form.pieces:
            mine = copies & (piece.coefficient != 0)
            row[0, mine] = self._id(piece.source)
            row[1, mine] = piece.index[mine]
        arithmetic = ~(copies | known)
        row[0, arithmetic] = self._id(node)
        row[1, arithmetic] = np.flatnonzero(arithmetic)
        return row

    def _copies(
        self, node: fx.Node, axis: int, found: list[tuple[fx.Node, Same]], forms: Forms
    ) -> Form | None:
        """The form "channel c of an earlier node where they are the same, itself elsewhere"."""
        size = forms.facts.shape(node)[axis]
        known = known_of(node, forms)
        if known is not None and known[0] != axis:
            return None
        left = np.ones(size, dtype=bool) if known is None else ~known[1]
        shift = np.zeros(size) if known is None else np.where(known[1], known[2], 0.0)
        pieces: list[Piece] = []
        for before, same in found:
            if forms.facts.shape(node) != forms.facts.shape(before) or same.shape != left.shape:
                continue
            if not (same & left).any():
                continue
            read = forms.read(before, axis, size, computed=True)
            assert (read.copies | read.constant).all(), node.name  # a shift would be lost
            mine = same & left & ~read.constant
            pieces += [
                p for p in read.scaled(mine.astype(np.float64)).pieces if p.coefficient.any()
            ]
            left = left & ~mine
        if not pieces:
            return None
        if left.any():
            pieces.append(Piece(node, np.arange(size), left.astype(np.float64)))
        return Form(axis, tuple(pieces), shift, np.ones(size, dtype=np.int64))


def _array(tensor: Tensor) -> Same:
    return np.asarray(tensor.numpy(), dtype=np.bool_)


def identity(form: Form) -> Any:
    """A key that two forms share exactly where they are the same value."""
    return (
        form.axis,
        tuple((p.source, p.index.tobytes(), p.coefficient.tobytes()) for p in form.pieces),
        form.shift.tobytes(),
    )


def source_of(node: fx.Node, forms: Forms) -> str:
    """The checkpoint tensor that a constant was cut or computed from; a call's own name."""
    if node.op != "get_attr":
        return node.name
    name = str(node.target)
    origin = forms.facts.program.origins.get(name)
    return name if origin is None or not origin.source else origin.source


def _without_tensors(node: fx.Node) -> Any:
    """The call's numbers; a size that the input chooses by how it is computed."""
    return mapped((node.args, dict(node.kwargs)), lambda n: _computed(n) if is_size(n) else None)


def _computed(size: fx.Node) -> Any:
    return size.target, mapped(size.args, lambda n: _computed(n) if is_size(n) else n)


def freeze(value: Any) -> Any:
    """A hashable form of node arguments, in which 1, 1.0 and True differ."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((k, freeze(v)) for k, v in value.items()))
    return value if isinstance(value, fx.Node) else (type(value).__name__, value)
