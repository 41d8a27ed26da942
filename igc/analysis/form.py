"""The form of a value: what each of its channels is, in terms of other values' channels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import fx

from igc.ops import Facts
from igc.ops.relations import Index, Relation

Values = NDArray[np.float64]


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
    zeros: dict[fx.Node, dict[int, NDArray[np.bool_]]] = field(default_factory=dict)
    patterns: dict[tuple[fx.Node, int, int], NDArray[np.bool_]] = field(default_factory=dict)

    def read(self, node: fx.Node, axis: int | None, size: int, *, computed: bool = False) -> Form:
        """The form of `node` as an operand along `axis`.

        Arithmetic is read from the node itself, unless only forms read it, so that it need not be
        computed; `computed` asks for it to be.
        """
        form = self.form.get(node)
        if form is None or (form.axis is not None and form.axis != axis):
            return own(node, axis, size)
        if axis is not None:
            form = form.lift(axis, size)
        if node in self.virtual and not computed:
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
