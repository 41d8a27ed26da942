"""Operations on values, which both readers of networks share: element by element, and moves.

What changes no number is carried out; sums with coefficients are normalised; the rest is a term.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
import sympy
import torch

from igc.audit.translation.entries import COMMUTE, again, constant, pick
from igc.audit.translation.terms import Label, NotShown, Store, Term
from igc.audit.translation.value import (
    Axis,
    Dim,
    Few,
    Known,
    Size,
    Value,
    axis_of,
    counted,
    dims,
    each,
    named,
    permuted,
    quotient,
    root,
    spots,
    tidy,
)

Operand: TypeAlias = Value | Known

#: Functions of numbers, for channels that are constant.
FOLDED: dict[str, Callable[..., torch.Tensor]] = {
    "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "exp": torch.exp,
    "sqrt": torch.sqrt, "abs": torch.abs, "log": torch.log, "reciprocal": torch.reciprocal,
    "erf": torch.erf, "hardswish": torch.nn.functional.hardswish, "mul": torch.mul,
    "div": torch.div, "max": torch.maximum, "min": torch.minimum,
    "hardsigmoid": torch.nn.functional.hardsigmoid, "softplus": torch.nn.functional.softplus,
    "sin": torch.sin, "cos": torch.cos, "floor": torch.floor, "ceil": torch.ceil,
    "round": torch.round, "sign": torch.sign, "mish": torch.nn.functional.mish,
}  # fmt: skip
#: Those that have attributes.
FOLDED_WITH: dict[str, Callable[..., torch.Tensor]] = {
    "clip": torch.clamp, "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu, "celu": torch.nn.functional.celu,
    "gelu": lambda x, how: torch.nn.functional.gelu(x, approximate=how),
}  # fmt: skip


class Algebra:
    """Operations over one store of terms."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # --- element by element -------------------------------------------------------------------

    def apply(self, op: str, *operands: Operand, attributes: tuple[Any, ...] = ()) -> Operand:
        """A function of numbers, element by element, of operands that are broadcast."""
        return self._elementwise(lambda ids: self._call(op, attributes, ids), operands)

    def add(self, *operands: Operand, by: Sequence[float] | None = None) -> Operand:
        """The sum of operands, each times a number."""
        factors = [1.0] * len(operands) if by is None else list(by)
        return self._elementwise(
            lambda ids: self.store.sum(zip(ids, factors, strict=True)), operands
        )

    def scale(self, x: Operand, by: float, shift: float = 0.0) -> Operand:
        """x * by + shift."""
        return self._elementwise(lambda ids: self.store.sum([(ids[0], by)], shift), [x])

    def mul(self, a: Operand, b: Operand) -> Operand:
        """The product, of which one may be numbers."""
        return self._elementwise(self._product, [a, b])

    def div(self, a: Operand, b: Operand) -> Operand:
        """The quotient."""
        return self._elementwise(self._quotient, [a, b])

    def where(self, condition: Operand, a: Operand, b: Operand) -> Operand:
        """a where the condition holds, else b."""

        def choose(ids: tuple[Term, ...]) -> Term:
            known = self.store.value(ids[0])
            if known is not None:
                return ids[1] if known else ids[2]
            return ids[1] if ids[1] == ids[2] else self._call("where", (), ids)

        return self._elementwise(choose, [condition, a, b])

    def _product(self, ids: tuple[Term, ...]) -> Term:
        for one, other in (ids, ids[::-1]):
            number = self.store.value(one)
            if number is not None:
                return self.store.sum([(other, number)])
        return self._call("mul", (), ids)

    def _quotient(self, ids: tuple[Term, ...]) -> Term:
        number = self.store.value(ids[1])
        if number is not None and number != 0.0:
            return self.store.sum([(ids[0], 1.0 / number)])
        return self._call("div", (), ids)

    def _call(self, op: str, attributes: tuple[Any, ...], ids: Sequence[Term]) -> Term:
        numbers = [self.store.value(t) for t in ids]
        fold = FOLDED_WITH.get(op) if attributes else FOLDED.get(op)
        if fold is not None and all(n is not None for n in numbers):
            given = [torch.tensor(n, dtype=torch.float64) for n in numbers]
            return self.store.number(float(fold(*given, *attributes)))
        operands = sorted(ids) if op in COMMUTE else ids
        dims = frozenset().union(*(self.store.dims[t] for t in ids))
        return self.store.call((op, attributes), tuple(operands), dims)

    def _elementwise(
        self, make: Callable[[tuple[Term, ...]], Term], operands: Sequence[Operand]
    ) -> Value:
        axes, arrays = self.aligned(operands)
        together = np.stack([np.broadcast_to(a, np.broadcast_shapes(*(x.shape for x in arrays)))
                             for a in arrays])  # fmt: skip
        flat = together.reshape(len(arrays), -1)
        different, place = np.unique(flat, axis=1, return_inverse=True)
        made = np.array([make(tuple(c)) for c in different.T.tolist()], dtype=np.int64)
        return tidy(Value(axes, made[place.reshape(-1)].reshape(together.shape[1:])))

    # --- broadcasting -------------------------------------------------------------------------

    def aligned(self, operands: Sequence[Operand]) -> tuple[tuple[Axis, ...], list[Any]]:
        """The axes that operands broadcast to, and arrays of terms that broadcast as numpy's."""
        ranks = [len(o.axes) if isinstance(o, Value) else o.array.ndim for o in operands]
        rank = max(ranks, default=0)
        values = [o for o in operands if isinstance(o, Value)]
        wide = [Value((((),) * (rank - len(v.axes))) + v.axes, v.ids) for v in values]
        axes: list[Axis] = []
        taken: set[Label] = set()
        for a in range(rank):
            wide, axis = self._agreed(wide, a, taken)
            known = {o.array.shape[a - rank + o.array.ndim] for o in operands
                     if isinstance(o, Known) and a >= rank - o.array.ndim} - {1}  # fmt: skip
            if not axis and known:
                axis = (Few(known.pop()),)
            elif known and isinstance(axis[0], Dim) and len(axis) > 1:
                wide = [named(self.store, v, a) if v.axes[a] else v for v in wide]
                axis = next(v.axes[a] for v in wide if v.axes[a])
            taken |= {d.label for d in dims(axis)}
            axes.append(axis)
        arrays = []
        remaining = iter(wide)
        for o in operands:
            if isinstance(o, Known):
                arrays.append(self._constant(o, axes))
            else:
                arrays.append(_spread(next(remaining), axes))
        return tuple(axes), arrays

    def _agreed(self, values: list[Value], a: int, taken: set[Label]) -> tuple[list[Value], Axis]:
        """The values with one and the same factors for an axis, where they have any."""
        given = list(dict.fromkeys(v.axes[a] for v in values if v.axes[a]))
        clash = any(d.label in taken for axis in given for d in dims(axis))
        if not given:
            return values, ()
        if len(given) == 1 and not clash:
            return values, given[0]
        loose = all(
            isinstance(f, Few) or (_any(f.label) and len(axis) == 1) for axis in given for f in axis
        )
        if loose and not clash and any(isinstance(f, Few) for axis in given for f in axis):
            values = [counted(self.store, v, a) if v.axes[a] else v for v in values]
            return values, next(v.axes[a] for v in values if v.axes[a])
        values = [named(self.store, v, a) if v.axes[a] else v for v in values]
        labels = {v.axes[a][0].label: v.axes[a][0].size for v in values if v.axes[a]}  # type: ignore[union-attr]
        real = {k: s for k, s in labels.items() if not _any(k)} or labels
        sizes = {sympy.sympify(s) for s in real.values()}
        if len(sizes) > 1:
            raise NotShown(f"operands of {' and '.join(map(str, sizes))} entries")
        label = min(real, key=repr)
        if label in taken:
            label = again(label)
            if label in taken:
                raise NotShown("three axes that come from the same one")
        dim = Dim(label, real[min(real, key=repr)])
        result = []
        for v in values:
            if v.axes[a]:
                old = v.axes[a][0].label  # type: ignore[union-attr]
                ids = each(self.store, v, lambda t, old=old: self.store.renamed(t, {old: label}))  # type: ignore[misc]
                v = Value((*v.axes[:a], (dim,), *v.axes[a + 1 :]), ids)
            result.append(v)
        return result, (dim,)

    def _constant(self, known: Known, axes: Sequence[Axis]) -> Any:
        """The numbers as terms, with an axis for each `Few` of `axes`."""
        array = known.numbers
        array = array.reshape([1] * (len(axes) - array.ndim) + list(array.shape))
        shape: list[int] = []
        vary: list[int] = []
        labels: list[Label | None] = []
        for size, axis in zip(array.shape, axes, strict=True):
            if all(isinstance(f, Few) for f in axis) and axis:
                shape += [f.size for f in axis] if size != 1 else [1] * len(axis)
            elif size == 1:
                shape += [1] * (1 + sum(isinstance(f, Few) for f in axis))
                vary.append(len(shape) - 1 - sum(isinstance(f, Few) for f in axis))
                labels.append(None)
            else:
                (dim,) = axis
                if dim.size != size:
                    raise NotShown(f"{size} numbers along an axis of {dim.size}")
                shape.append(size)
                vary.append(len(shape) - 1)
                labels.append(dim.label)  # type: ignore[union-attr]
        array = array.reshape(shape)
        counts = [n for n in range(array.ndim) if n not in vary]
        moved = array.transpose([*counts, *vary])
        outer = moved.shape[: len(counts)]
        varying = [n for n, label in enumerate(labels) if label is not None]
        rows = moved.reshape(-1, *(moved.shape[len(counts) + n] for n in varying))
        own = [label for label in labels if label is not None]
        made = np.array([constant(self.store, row, own) for row in rows], dtype=np.int64)
        return made.reshape(outer)

    def value(self, operand: Operand) -> Value:
        """An operand as a value: numbers are counted out."""
        if isinstance(operand, Value):
            return operand
        ids = np.array([self.store.number(v) for v in operand.numbers.reshape(-1).tolist()],
                       dtype=np.int64).reshape(operand.array.shape)  # fmt: skip
        return tidy(Value(tuple((Few(n),) for n in operand.array.shape), ids))

    # --- moves --------------------------------------------------------------------------------

    def take(self, x: Value, axis: int, index: Any) -> Value:
        """Entries of an axis, which becomes as many axes as the index has."""
        index = np.asarray(index)
        count = x.size(axis)
        if index.min(initial=0) < 0:
            if not count.is_Integer:
                raise NotShown("places counted from the end of an axis of unknown size")
            index = np.where(index < 0, index + int(count), index)
        if dims(x.axes[axis]) and index.ndim == 1 and index.size > 1:
            return self._taken(x, axis, index)
        if dims(x.axes[axis]) and index.ndim == 0:
            x = named(self.store, x, axis)
            (dim,) = dims(x.axes[axis])
            ids = each(self.store, x, lambda t: pick(self.store, t, dim.label, int(index)))
            return Value((*x.axes[:axis], *x.axes[axis + 1 :]), ids)
        x = counted(self.store, x, axis)
        at = spots(x, axis)[0]
        ids = np.take(x.ids, index, axis=at)
        made = tuple((Few(n),) for n in index.shape)
        return tidy(Value((*x.axes[:axis], *made, *x.axes[axis + 1 :]), ids))

    def _taken(self, x: Value, axis: int, index: Any) -> Value:
        return self.along(("take", index.tobytes()), x, axis, len(index))

    def along(
        self, op: Hashable, x: Value, axis: int, size: Size | None = None, gone: bool = False
    ) -> Value:
        """An operation along one named axis, which may get another size or go."""
        x = named(self.store, x, axis)
        if not x.axes[axis]:
            x = self.unit(x, axis)
        (dim,) = dims(x.axes[axis])
        factors: Axis = () if gone else (dim,) if size is None else axis_of(root(dim.label), size)
        come = {d.label for d in dims(factors)}

        def make(term: Term) -> Term:
            own = self.store.dims[term] - {dim.label} | come
            return self.store.call((op, dim.label), (term,), own, {dim.label} | come)

        axes = (*x.axes[:axis], *(() if gone else (factors,)), *x.axes[axis + 1 :])
        return Value(axes, each(self.store, x, make))

    def unit(self, x: Value, axis: int) -> Value:
        """An axis of one entry, with a name."""
        return Value((*x.axes[:axis], (Dim(("unit", axis), 1),), *x.axes[axis + 1 :]), x.ids)

    def slice(self, x: Value, axis: int, start: int, stop: Size | None, step: int = 1) -> Value:
        """Entries start, start + step, ... before stop; None: to the end."""
        size = x.size(axis)
        if size.is_Integer:
            stop_ = None if stop is None else int(stop)
            places = np.arange(int(size))[start:stop_:step]
            if len(places) == int(size) and step == 1:
                return x
            if not len(places):
                raise NotShown("a slice of no entries")
            return self.take(x, axis, places)
        last = size if stop is None else sympy.sympify(stop)
        last = size + last if last.is_negative else last
        first = sympy.sympify(start)
        first = size + first if first.is_negative else first
        if step == 1 and first == 0 and last == size:
            return x
        length = quotient(last - first + step - 1, step) if step > 0 else None
        if length is None:
            raise NotShown("an axis of unknown size, backwards")
        return self.along(("slice", first, last, step), x, axis, length)

    def concat(self, operands: Sequence[Operand], axis: int) -> Operand:
        """Side by side along an axis."""
        if all(isinstance(o, Known) for o in operands):
            return Known(np.concatenate([o.array for o in operands], axis))  # type: ignore[union-attr]
        parts = [self.value(o) for o in operands]
        if len(parts) == 1:
            return parts[0]
        if not any(dims(p.axes[axis]) for p in parts):
            parts = [counted(self.store, p, axis) for p in parts]
            return tidy(self._concat_few(parts, axis))
        parts = [named(self.store, p, axis) for p in parts]
        labels = tuple(p.axes[axis][0].label if p.axes[axis] else None for p in parts)  # type: ignore[union-attr]
        total = sum((p.size(axis) for p in parts), start=sympy.Integer(0))
        origin = next((root(d) for d in labels if d is not None), ("concat", len(parts)))
        whole = dims(axis_of(origin, total))[0]
        lengths = tuple(
            (label, int(p.size(axis)) if p.size(axis).is_Integer else p.size(axis))
            for label, p in zip(labels, parts, strict=True)
        )
        bare = [Value((*p.axes[:axis], (), *p.axes[axis + 1 :]), p.ids) for p in parts]
        axes, arrays = self.aligned(bare)

        def make(ids: tuple[Term, ...]) -> Term:
            own = frozenset().union(*(self.store.dims[t] for t in ids)) - set(labels) | {
                whole.label
            }
            return self.store.call(("concat", whole.label, lengths), ids, own, {whole.label})

        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        flat = np.stack([np.broadcast_to(a, shape).reshape(-1) for a in arrays])
        made = np.array([make(tuple(c)) for c in flat.T.tolist()], dtype=np.int64).reshape(shape)
        return tidy(Value((*axes[:axis], (whole,), *axes[axis + 1 :]), made))

    def _concat_few(self, parts: list[Value], axis: int) -> Value:
        """Counted axes side by side: the others are brought to agree, part by part."""
        front = [_moved(p, axis) for p in parts]
        entries = [Value(p.axes[1:], p.ids[i]) for p in front for i in range(p.ids.shape[0])]
        axes, arrays = self.aligned(entries)
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        ids = np.stack([np.broadcast_to(a, shape) for a in arrays])
        value = Value(((Few(len(arrays)),), *axes), ids)
        order = [*range(1, axis + 1), 0, *range(axis + 1, len(value.axes))]
        return permuted(value, order)

    def expanded(self, x: Operand, sizes: Sequence[Size]) -> Operand:
        """Broadcast to these sizes; 1 or -1 leave an axis as it is."""
        value = self.value(x)
        missing = len(sizes) - len(value.axes)
        axes = [*[()] * missing, *value.axes] if missing > 0 else list(value.axes)
        sizes = [*[1] * -missing, *sizes] if missing < 0 else list(sizes)
        for a, size in enumerate(sizes):
            wanted = sympy.sympify(size)
            if not axes[a] and wanted not in (1, -1):
                axes[a] = (Dim(("any", str(wanted)), wanted),)
        return Value(tuple(axes), value.ids)


def _any(label: Label) -> bool:
    return isinstance(label, tuple) and bool(label) and label[0] == "any"


def _moved(value: Value, axis: int) -> Value:
    return permuted(value, [axis, *(a for a in range(len(value.axes)) if a != axis)])


def _spread(value: Value, axes: Sequence[Axis]) -> Any:
    """The terms with an axis for each `Few` of `axes`."""
    shape: list[int] = []
    sizes = iter(value.ids.shape)
    for own, axis in zip(value.axes, axes, strict=True):
        wide = sum(isinstance(f, Few) for f in axis)
        shape += [next(sizes) for f in own if isinstance(f, Few)] if own else [1] * wide
    return value.ids.reshape(shape)
