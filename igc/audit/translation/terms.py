"""Terms: what a channel is, as a function of the input; equal terms have equal numbers.

A term stands for an array over *named* axes (batch, height, tokens ...), whatever their order. It
is an input channel, an operation on other terms, or a sum of terms with coefficients:

    affine   scale * base + shift
    row      sum over i of operator(weights[i], term[i]), the largest weight being 1

so that a kernel, and the same kernel with a batch norm folded in, are one row, and differ in the
scale and the shift of an affine term. Numbers are compared up to `ROUNDINGS` of the type that the
file stores; whoever comes first is kept. The gated network does, in float64.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Term: TypeAlias = int
Terms: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.float64]
Label: TypeAlias = Hashable

ROUNDINGS = 2  # a weight and the largest of its row, each rounded once
BUCKET = 2.0**-7  # rows are looked up by a random projection, this far from its rounded value
CANCELS = 2.0**12  # the parts of a sum may be this much larger than it is
LARGE = 2.0**40
SAME = 1e-12  # the network's numbers, computed in float64 in one order or another
PARTS = 2.0**6  # what a number was summed from gives it room for rounding, up to so many times it
FEW = 8  # a contraction over so many terms is a sum, as a mix may be written as either
MANY = 1 << 12  # terms of a sum that is added to others term by term
LINEAR = "linear"  # the operator that multiplies


@dataclass(frozen=True)
class Affine:
    """scale * base + shift."""

    base: Term
    scale: float
    shift: float


@dataclass
class _Rows:
    """The rows over the same terms by the same operator."""

    atoms: Terms
    buckets: dict[int, list[tuple[Numbers, Term]]] = field(default_factory=dict)
    direction: Numbers | None = None


class NotShown(Exception):
    """What the proof does not know; the message says what."""


class Store:
    """All terms, each kept once. `eps` is that of the type in which a file stores its weights.

    Sums are those of real numbers. A file could use that: it may not add what it takes away again,
    nor multiply by zero what no output is made of (`close_gated`, `require_used`).
    """

    def __init__(self, eps: float) -> None:
        self.eps, self.near = eps, SAME  # the network's own numbers are exact
        self.dims: list[frozenset[Label]] = []
        self.what: list[Any] = []
        self.along: list[frozenset[Label]] = []  # the axes along which entries are mixed
        self.weights: dict[Term, tuple[Hashable, Terms, Numbers]] = {}  # of rows
        self.entries: dict[Any, Term] = {}  # of terms along axes, by term, axis and place
        self._calls: dict[Any, Term] = {}
        self._exact: dict[float, Term] = {}
        self._numbers: list[tuple[float, Term]] = []  # the network's, sorted
        self._affines: dict[Term, list[Term]] = {}
        self._rows: dict[Any, _Rows] = {}
        #: Rows that are added term by term: their terms, weights, and what those were summed from.
        self._short: dict[Term, tuple[Terms, Numbers, Numbers]] = {}
        self._room: dict[Term, float] = {}  # the size of what a shift was summed from
        self.zeroed: set[Term] = set()  # what the file multiplies by zero
        self.gated: int | None = None  # how many terms the gated network has
        self.one = self.number(1.0)

    def __len__(self) -> int:
        return len(self.what)

    def close_gated(self) -> None:
        """The gated network is read; what comes now is the file's, and may not cancel."""
        self.gated, self.near = len(self), ROUNDINGS * self.eps

    def _zeroed(self, term: Term) -> None:
        base = self.parts(term).base
        if self.gated is not None and base != self.one:
            short = self._short.get(base)
            self.zeroed |= (
                {base} if short is None else {self.parts(t).base for t in short[0].tolist()}
            )

    def require_used(self, outputs: Iterable[Term]) -> None:
        """Raises `NotShown` where the file multiplies by zero what no output is made of.

        It might be infinite, and infinity times zero is no number.
        """
        used: set[Term] = set()
        stack = list(outputs)
        while stack:
            term = stack.pop()
            if term in used:
                continue
            used.add(term)
            what = self.what[term]
            if isinstance(what, Affine):
                stack.append(what.base)
            elif term in self.weights:
                stack += self.weights[term][1].tolist()
            elif isinstance(what, tuple):
                stack += what[1]
        if not self.zeroed <= used:
            raise NotShown("the file multiplies by zero what no output is made of")

    def _new(self, what: Any, dims: Iterable[Label], along: Iterable[Label] = ()) -> Term:
        self.what.append(what)
        self.along.append(frozenset(along))
        self.dims.append(frozenset(dims))
        return len(self.what) - 1

    def call(
        self, op: Hashable, operands: Sequence[Term], dims: Iterable[Label],
        along: Iterable[Label] = (),
    ) -> Term:  # fmt: skip
        """The term of an operation on terms, with the axes that it has.

        Entries of different places of an axis do not meet, but for the axes `along`.
        """
        key = (op, tuple(self.settled(t) for t in operands))
        found = self._calls.get(key)
        if found is None:
            found = self._calls[key] = self._new(key, dims, along)
        return found

    def number(self, value: float, room: float = 0.0) -> Term:
        """A number that is the same everywhere.

        `room`: the size of what it was summed from; the file's is then the network's nearest one.
        """
        value = float(value) + 0.0  # one zero
        if value != value:
            return self.call("nan", (), ())
        term = self._exact.get(value)
        if term is None:
            known = self._nearest(value, room) if self.gated is None else None
            term = self._exact[value] = self._new(value, ()) if known is None else known
            if self.gated is None and known is None:
                bisect.insort(self._numbers, (value, term))
        return self.settled(term, room) if room else term

    def settled(self, term: Term, room: float = 0.0) -> Term:
        """The network's number for one of the file's; the term itself where there is none."""
        value = self.what[term]
        if self.gated is None or term < self.gated or not isinstance(value, float):
            return term
        known = self._nearest(value, room)
        return term if known is None else known

    def _nearest(self, value: float, room: float) -> Term | None:
        """The network's nearest number, where it is the same up to rounding."""
        at = bisect.bisect_left(self._numbers, (value, 0))
        near = self._numbers[max(at - 1, 0) : at + 1]
        best = min(near, key=lambda pair: abs(pair[0] - value), default=None)
        return best[1] if best and self.close(best[0], value, room) else None

    def value(self, term: Term) -> float | None:
        """The number that a term is, if it is one."""
        what = self.what[term]
        return what if isinstance(what, float) else None

    def close(self, a: float, b: float, room: float = 0.0) -> bool:
        """Whether two numbers are the same up to rounding, of parts as large as `room`."""
        return a == b or abs(a - b) <= self.near * max(abs(a), abs(b), room)

    def affine(self, base: Term, scale: float, shift: float, room: float = 0.0) -> Term:
        """scale * base + shift, of a base that is no such term itself.

        `room` is the size of the numbers that the shift was summed from.
        """
        if scale == 0.0:
            return self.number(shift, room)
        if scale == 1.0 and shift == 0.0:
            return base
        known = self._affines.setdefault(base, [])
        fits = []
        for term in known:
            what = self.what[term]
            if what.scale == scale and what.shift == shift:
                return term
            if self.close(what.scale, scale) and self.close(what.shift, shift, room):
                fits.append((abs(what.scale - scale) / abs(scale), abs(what.shift - shift), term))
        if fits:
            return min(fits)[2]
        if self.gated is not None and not abs(scale) <= LARGE:
            raise NotShown(f"a factor of {scale:.3g}, by which numbers may overflow")
        known.append(self._new(Affine(base, scale, shift), self.dims[base]))
        self._room[known[-1]] = min(room, PARTS * max(abs(shift), abs(scale)))
        return known[-1]

    def parts(self, term: Term) -> Affine:
        """Any term as an affine one; a number has the base `one` and the scale 0."""
        what = self.what[term]
        if isinstance(what, Affine):
            return what
        if isinstance(what, float):
            return Affine(self.one, 0.0, what)
        return Affine(term, 1.0, 0.0)

    def sum(
        self, coefficients: Iterable[tuple[Term, float]], shift: float = 0.0, room: float = 0.0
    ) -> Term:
        """The sum of terms times coefficients, and a number, itself a sum of numbers of `room`."""
        total: dict[Term, float] = {}
        sizes: dict[Term, float] = {}
        most = max(abs(shift), room)

        def add(term: Term, by: float, size: float) -> None:
            total[term] = total.get(term, 0.0) + by
            sizes[term] = sizes.get(term, 0.0) + size

        for term, by in coefficients:
            part = self.parts(term)
            shift += by * part.shift
            most += abs(by) * max(abs(part.shift), self._room.get(term, 0.0))
            by *= part.scale
            if by == 0.0:
                self._zeroed(part.base)
                continue
            short = self._short.get(part.base)
            if short is None:
                add(part.base, by, abs(by))
            else:
                for atom, weight, size in zip(*(a.tolist() for a in short), strict=True):
                    add(atom, by * weight, abs(by) * size)
        if self.gated is not None:
            self._require_sound(total, sizes, shift, most)
        total = {t: self._settled(c) for t, c in total.items() if c != 0.0}
        if len(total) <= 1:
            return self.affine(*(next(iter(total.items()), (self.one, 0.0))), shift, most)
        atoms = np.array(sorted(total), dtype=np.int64)
        weights = np.array([total[a] for a in atoms.tolist()])
        by = float(np.abs(weights).max() * np.sign(weights[0]))
        rooms = np.array([sizes[a] for a in atoms.tolist()]) / abs(by)
        base, scale = self._row(None, atoms, weights[:, None] / by, (), rooms[:, None]), by
        return self.affine(base, scale, shift, most)

    @staticmethod
    def _require_sound(
        total: Mapping[Term, float], sizes: Mapping[Term, float], shift: float, most: float
    ) -> None:
        """Raises `NotShown` for a sum of which large parts cancel: rounding would decide it."""
        largest = max(map(abs, total.values()), default=0.0)
        if any(abs(c) * CANCELS < sizes[t] for t, c in total.items()):
            raise NotShown("a sum in which a term cancels")
        if np.isfinite(most) and most > CANCELS * max(abs(shift), largest):
            raise NotShown("a sum in which numbers cancel")

    @staticmethod
    def _settled(coefficient: float) -> float:
        """A sum of coefficients that is 1 up to rounding in float64, those of a softmax, is 1."""
        return 1.0 if abs(coefficient - 1.0) <= 1e-15 * 8 else coefficient

    def rows(
        self, operator: Hashable, atoms: Terms, weights: Numbers, dims: Iterable[Label]
    ) -> tuple[list[Term], list[float]]:
        """The rows `weights` [rows, atoms, taps] over atoms, and what each was scaled by.

        `operator` says what is done with an atom and its taps; `LINEAR`: they are multiplied.
        `dims` are the axes that it makes. What is zero throughout a row is not part of it; a row
        of zeros is `one`, times 0.
        """
        order, place = np.unique(atoms, return_inverse=True)
        joined = _joined(weights, place, len(order))
        if self.gated is not None and len(order) < len(atoms):
            sizes = _joined(np.abs(weights), place, len(order)).max(axis=(1, 2))
            if bool((sizes > CANCELS * np.abs(joined).max(axis=(1, 2))).any()):
                raise NotShown("a sum in which a term cancels")
        present = (joined != 0).any(axis=2)
        for atom in order[~present.any(axis=0)].tolist():
            self._zeroed(atom)
        made, scales = [self.one] * len(joined), [0.0] * len(joined)
        packed = np.packbits(present, axis=1)
        groups: dict[bytes, list[int]] = {}
        for i, bits in enumerate(packed):
            groups.setdefault(bits.tobytes(), []).append(i)
        for members in groups.values():
            some = present[members[0]]
            if not some.any():
                continue
            held, part = order[some], joined[members][:, some]
            largest = np.abs(part).max(axis=(1, 2))
            flat = part.reshape(len(part), -1)
            first = flat[np.arange(len(flat)), (flat != 0).argmax(axis=1)]
            by = largest * np.sign(first)
            for i, row, scale in zip(members, part / by[:, None, None], by, strict=True):
                if operator == LINEAR and len(held) <= FEW:
                    parts = zip(held.tolist(), (row[:, 0] * scale).tolist(), strict=True)
                    made[i], scales[i] = self.sum(parts), 1.0
                    continue
                made[i], scales[i] = self._row(operator, held, row, dims), float(scale)
        return made, scales

    def _row(
        self, operator: Hashable, atoms: Terms, row: Numbers, dims: Iterable[Label],
        rooms: Numbers | float = 0.0,
    ) -> Term:  # fmt: skip
        """`rooms`: the size of what each weight was summed from."""
        key = (operator, atoms.tobytes(), row.shape[1])
        rows = self._rows.setdefault(key, _Rows(atoms))
        if rows.direction is None:
            make = np.random.default_rng(row.size)
            rows.direction = make.uniform(0.5, 1.0, row.shape) * make.choice((-1, 1), row.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            at = float((row * rows.direction).sum()) / BUCKET
        middle = int(np.floor(at)) if np.isfinite(at) else 0
        fits = []
        for bucket in (middle, middle - 1, middle + 1):
            for other, term in rows.buckets.get(bucket, ()):
                apart = np.abs(other - row)
                if not apart.any():
                    return term
                sizes = np.maximum(np.abs(other), np.abs(row))
                sizes = np.maximum(sizes, np.minimum(rooms, PARTS * np.abs(row)))
                if bool((apart <= self.near * sizes).all()):
                    fits.append((float(apart.sum()), term))
        if fits:
            return min(fits)[1]
        inside: frozenset[Label] = frozenset()
        own = dims
        if operator is None or operator == LINEAR:
            own = inside.union(*(self.dims[a] for a in atoms.tolist()))
        term = self._new((operator, key), own)
        self.weights[term] = (operator, atoms, row)
        rows.buckets.setdefault(middle, []).append((row, term))
        if operator is None and len(atoms) <= MANY:
            size = np.maximum(np.abs(row), np.minimum(rooms, PARTS * np.abs(row)))
            self._short[term] = (atoms, row[:, 0], size[:, 0])
        return term

    def renamed(self, term: Term, labels: Mapping[Label, Label]) -> Term:
        """The term with axes of other names."""
        own = {old: new for old, new in labels.items() if old in self.dims[term] and old != new}
        if not own:
            return term
        dims = frozenset(own.get(d, d) for d in self.dims[term])
        return self.call(("rename", frozenset(own.items())), (term,), dims)


def _joined(weights: Numbers, place: NDArray[Any], count: int) -> Numbers:
    """Weights [rows, terms, taps] added up by the place of their term."""
    if count == weights.shape[1]:
        result = np.empty_like(weights, dtype=np.float64)
        result[:, place] = weights
        return result
    result = np.zeros((len(weights), count, weights.shape[2]))
    for i, at in enumerate(place.tolist()):
        result[:, at] += weights[:, i]
    return result
