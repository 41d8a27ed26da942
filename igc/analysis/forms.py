"""Forward analysis: what every channel of every value is, in terms of other values' channels.

Definition 1. A *source* is a node that is computed as written. The *form* of a node along one axis
is `shift[c] + sum_k coefficient_k[c] * source_k[index_k[c]]`.

Definition 2. A channel is *constant* where its form has no terms, and a *copy* where it has one
term with coefficient 1 and no shift. Zero coefficients are exact: nothing is rounded to zero.

Definition 3. A node that is not rebuilt is *written*: it computes some channels itself, the others
are constants or copies of equal channels elsewhere (`igc.analysis.numbering`).

Definition 4. A node *gains* where its form has fewer terms than it was written with: a closed gate
dropped a branch, or a mix of equal operands collapsed. Such a node is rebuilt from its form; every
other node is computed as written.

A gate is thereby recognised by what it computes, not by how it was spelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import fx

from igc.analysis.known import known_channels
from igc.analysis.numbering import Numbering
from igc.ops import Facts
from igc.ops.relations import Concat, Index, Relation, Select, Take

Values = NDArray[np.float64]
ROUNDING = 8 * float(np.finfo(np.float64).eps)
MAX_TERMS = 96  # a form longer than this is cheaper to compute as written


@dataclass(frozen=True)
class Piece:
    """One term of a form: `coefficient[c] * source[index[c]]`."""

    source: fx.Node
    index: Index
    coefficient: Values


@dataclass(frozen=True)
class Form:
    """What the channels of a node are. `axis=None`: the same for every channel, arrays of one."""

    axis: int | None
    pieces: tuple[Piece, ...]
    shift: Values
    written: NDArray[np.int64]  # terms per channel as the author wrote them
    gains: bool = False
    expansion: bool = False  # of a sum or a move, in terms of what it reads

    @property
    def partial(self) -> bool:
        """Whether the node computes some channels itself and the form tells what the others are."""
        return not self.gains and not self.expansion and self.axis is not None

    @property
    def count(self) -> NDArray[np.int64]:
        """Terms per channel."""
        total = np.zeros(len(self.shift), dtype=np.int64)
        for piece in self.pieces:
            total += piece.coefficient != 0
        return total

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which channels are known constants (their value is `shift`)."""
        return np.asarray(self.count == 0)

    @property
    def copies(self) -> NDArray[np.bool_]:
        """Which channels are plain copies of one source channel."""
        unit = np.ones(len(self.shift), dtype=bool)
        for piece in self.pieces:
            unit &= (piece.coefficient == 0) | (piece.coefficient == 1)
        return np.asarray((self.count == 1) & unit & (self.shift == 0))

    def lift(self, axis: int, size: int) -> Form:
        """The same form written out along `axis`."""
        if self.axis is not None:
            return self
        return Form(
            axis,
            tuple(Piece(p.source, np.arange(size), np.repeat(p.coefficient, size))
                  for p in self.pieces),
            np.repeat(self.shift, size),
            np.repeat(self.written, size),
            self.gains,
            self.expansion,
        )  # fmt: skip

    def scaled(self, by: Values) -> Form:
        """Every channel multiplied by `by[c]`; a zero drops the terms."""
        pieces = tuple(Piece(p.source, p.index, _times(p.coefficient, by)) for p in self.pieces)
        return Form(self.axis, pieces, _times(self.shift, by), self.written)

    def taken(self, index: Index, fill: float) -> Form:
        """Channels `index`, -1 being the constant `fill`."""
        real, at = index >= 0, np.maximum(index, 0)
        pieces = tuple(
            Piece(p.source, p.index[at], np.where(real, p.coefficient[at], 0.0))
            for p in self.pieces
        )
        return Form(
            self.axis,
            pieces,
            np.where(real, self.shift[at], fill),
            np.where(real, self.written[at], 0),
        )


def own(node: fx.Node, axis: int | None, size: int) -> Form:
    """The form of a value that is only known as itself."""
    n = 1 if axis is None else size
    piece = Piece(node, np.arange(n), np.ones(n))
    return Form(axis, (piece,), np.zeros(n), np.ones(n, dtype=np.int64))


def _times(a: Values, b: Values) -> Values:
    with np.errstate(invalid="ignore"):
        product: Values = np.where((a == 0) | (b == 0), 0.0, a * b)
    return product


@dataclass
class Forms:
    """The form of each node that is more than itself, and the analysis that made them."""

    facts: Facts
    relations: dict[fx.Node, Relation]
    form: dict[fx.Node, Form] = field(default_factory=dict)
    virtual: set[fx.Node] = field(default_factory=set)
    patterns: dict[tuple[fx.Node, int, int], NDArray[np.bool_]] = field(default_factory=dict)

    def read(self, node: fx.Node, axis: int | None, size: int) -> Form:
        """The form of `node` as an operand along `axis`."""
        form = self.form.get(node)
        if form is None or (form.axis is not None and form.axis != axis):
            return own(node, axis, size)
        if axis is not None:
            form = form.lift(axis, size)
        if node in self.virtual:
            return form
        return _short(form, node)

    def gains(self, node: fx.Node) -> bool:
        """Whether the node is rebuilt from its form."""
        form = self.form.get(node)
        return form is not None and form.gains


def _short(form: Form, node: fx.Node) -> Form:
    """Constants and copies stay; what takes arithmetic is read from the node itself."""
    itself = ~(form.constant | form.copies)
    if not itself.any():
        return form
    pieces = [Piece(p.source, p.index, np.where(itself, 0.0, p.coefficient)) for p in form.pieces]
    kept = [p for p in pieces if p.coefficient.any()]
    kept.append(Piece(node, np.arange(len(itself)), itself.astype(np.float64)))
    return Form(form.axis, tuple(kept), np.where(itself, 0.0, form.shift),
                np.where(itself, 1, form.written))  # fmt: skip


def forms(facts: Facts, relations: dict[fx.Node, Relation]) -> Forms:
    """The forms of all values of the program."""
    result = Forms(facts, relations)
    linear = {n for n, r in relations.items() if isinstance(r, (Select, Concat)) or
              (isinstance(r, Take) and not r.drops)}  # fmt: skip
    outputs, numbering = set(facts.program.output_nodes), Numbering()
    result.virtual = {
        n for n in linear if n not in outputs and n.users and all(u in linear for u in n.users)
    }
    for node, relation in relations.items():
        dtype = facts.at[node].dtype
        if dtype is None or not dtype.is_floating_point or node.op == "get_attr":
            continue
        form = _form(node, relation, result) if node in linear else None
        if form is None:
            form = known_channels(node, relation, result)
        if form is not None:
            result.form[node] = form
        if node.op == "call_function" and (form is None or not form.gains):
            repeated = numbering.repeats(node, relation, result)
            if repeated is not None:
                result.form[node] = repeated
    return result


def _form(node: fx.Node, relation: Relation, known: Forms) -> Form | None:
    shape = known.facts.shape(node)
    if isinstance(relation, Select):
        return _select(node, relation, known, shape)
    if isinstance(relation, Concat):
        return _concat(node, relation, known, shape)
    assert isinstance(relation, Take)
    size = known.facts.shape(relation.x)[relation.axis]
    form = known.read(relation.x, relation.axis, size).taken(relation.index, relation.fill)
    return _finish(form, known, moves=True)


def _select(node: fx.Node, relation: Select, known: Forms, shape: tuple[int, ...]) -> Form | None:
    axis = relation.axis
    if all(known.facts.dynamic(node)):  # no axis along which to write coefficients
        return None
    if axis is None:
        axes = [f.axis for t in relation.terms if (f := known.form.get(t.node)) is not None]
        axis = next((a for a in axes if a is not None), None)
    size = 1 if axis is None else shape[axis]
    shift = np.array(np.broadcast_to(relation.shift, (size,)))
    total = Form(axis, (), shift, np.zeros(size, dtype=np.int64))
    for term in relation.terms:
        by = np.array(np.broadcast_to(term.coefficient, (size,)))
        total = _sum(total, known.read(term.node, axis, size).scaled(by), ROUNDING)
        if len(total.pieces) > MAX_TERMS:
            return None
    if axis is None and bool(total.constant.all()):  # x - x: one number everywhere
        usual = 1 if len(shape) > 3 else len(shape) - 1  # where channels lie
        dynamic = known.facts.dynamic(node)
        axis = next(a for a in (usual, *range(len(shape))) if not dynamic[a])
        number = np.full(shape[axis], float(total.shift[0]))
        total = Form(axis, (), number, np.full(shape[axis], int(total.written[0])))
    return _finish(total, known, moves=False)


def _concat(node: fx.Node, relation: Concat, known: Forms, shape: tuple[int, ...]) -> Form | None:
    size, start = shape[relation.axis], 0
    total = Form(relation.axis, (), np.zeros(size), np.zeros(size, dtype=np.int64))
    for operand in relation.operands:
        width = known.facts.shape(operand)[relation.axis]
        index = np.full(size, -1)
        index[start : start + width] = np.arange(width)
        part = known.read(operand, relation.axis, width).taken(index, 0.0)
        total = _sum(total, part, 0.0)
        start += width
    if len(total.pieces) > MAX_TERMS:
        return None
    return _finish(total, known, moves=True)


def _sum(a: Form, b: Form, tolerance: float) -> Form:
    """a + b; equal terms are joined, and coefficients that join to 1 +- rounding become 1.

    The tolerance is a few roundings in float64, in which constants are folded: the sum of a softmax
    is 1 only up to those. Coefficients that the network stores in float32 add up to 1.0000001, say;
    that is what it computes, so it stays. Nothing is ever turned into zero.
    """
    pieces = list(a.pieces)
    for piece in b.pieces:
        pieces = _join(pieces, piece, tolerance)
    return Form(a.axis, tuple(pieces), a.shift + b.shift, a.written + b.written)


def _join(pieces: list[Piece], new: Piece, tolerance: float) -> list[Piece]:
    for i, old in enumerate(pieces):
        if old.source is not new.source:
            continue
        both = (old.coefficient != 0) & (new.coefficient != 0)
        if not (old.index == new.index)[both].all():
            continue
        total = old.coefficient + new.coefficient
        total = np.where(both & (np.abs(total - 1) <= tolerance), 1.0, total)
        index = np.where(old.coefficient != 0, old.index, new.index)
        return [*pieces[:i], Piece(old.source, index, total), *pieces[i + 1 :]]
    return [*pieces, new]


def _finish(form: Form, known: Forms, *, moves: bool) -> Form:
    pieces = tuple(p for p in form.pieces if p.coefficient.any())
    done = Form(form.axis, pieces, form.shift, form.written)
    gains = bool((done.count < done.written).any())
    if moves:
        gains = gains or _whole(done, known)
    elif done.copies.all():
        gains = True
    return Form(done.axis, done.pieces, done.shift, done.written, gains, expansion=True)


def _whole(form: Form, known: Forms) -> bool:
    """Whether a moved value is just one source, all of it, in order."""
    if len(form.pieces) != 1 or form.axis is None or not form.copies.all():
        return False
    (piece,) = form.pieces
    size = known.facts.shape(piece.source)[form.axis]
    return size == len(piece.index) and bool((piece.index == np.arange(size)).all())
