"""Values: tensors of which every channel is a term, and how their axes are regrouped.

An axis is a list of factors whose product is its size. A `Few` is counted out: there is a term for
each of its entries. A `Dim` is a named axis of the terms themselves. An axis without factors has
one entry. Splitting, merging and permuting axes is regrouping factors: the terms stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import sympy
from numpy.typing import NDArray

from igc.audit.translation.entries import pick
from igc.audit.translation.terms import Label, NotShown, Numbers, Store, Term, Terms

Size: TypeAlias = Any  # a sympy integer expression, or an int
LARGEST = 1 << 22  # terms in one value


@dataclass(frozen=True)
class Dim:
    """A named axis of the terms, and its size."""

    label: Label
    size: Size


@dataclass(frozen=True)
class Few:
    """An axis along which there are several terms."""

    size: int


Axis: TypeAlias = tuple["Dim | Few", ...]


@dataclass(frozen=True)
class Value:
    """A tensor: its axes, and its terms in an array with one axis for each `Few`, in order."""

    axes: tuple[Axis, ...]
    ids: Terms

    def size(self, axis: int) -> Size:
        """The size of an axis."""
        return sympy.sympify(sympy.prod([sympy.sympify(f.size) for f in self.axes[axis]]))


@dataclass(frozen=True)
class Known:
    """A tensor of known numbers, in the type that they are stored in."""

    array: NDArray[Any]

    @property
    def numbers(self) -> Numbers:
        """As float64."""
        return np.asarray(self.array, dtype=np.float64)


def quotient(size: Size, by: Any) -> Any:
    """floor(size / by), in one form: what divides evenly is taken out."""
    size, by = sympy.expand(sympy.sympify(size)), sympy.sympify(by)
    if not by.is_Integer:
        return sympy.floor(size / by)
    inside, outside = sympy.Integer(0), sympy.Integer(0)
    for part in sympy.Add.make_args(size):
        factor, rest = part.as_coeff_Mul()
        if rest.is_integer and factor.is_Integer:
            outside += (factor // by) * rest
            inside += (factor % by) * rest
        else:
            inside += part
    floors = [part for part in sympy.Add.make_args(inside) if isinstance(part, sympy.floor)]
    if len(floors) == 1 and (inside - floors[0]).is_Integer:
        inside += floors[0].args[0] - floors[0]  # floor((floor(a) + r) / n) = floor((a + r) / n)
    return sympy.floor(sympy.expand(inside / by)) + outside


def axis_of(root: Label, size: Size) -> Axis:
    """An axis that comes from an input's axis `root` and has this size; () for one entry.

    Its name says no more: what was done along it is told by the terms.
    """
    size = sympy.sympify(size)
    return () if size == 1 else (Dim(("axis", root, size), size),)


def root(label: Label) -> Label:
    """The axis that an axis comes from."""
    return label[1] if isinstance(label, tuple) and label[0] == "axis" else label


def require_distinct(value: Value) -> None:
    """Raises `NotShown` where two axes have one name: their terms would mean something else."""
    labels = [d.label for axis in value.axes for d in dims(axis)]
    if len(labels) != len(set(labels)):
        raise NotShown("two axes that come from the same one")


def few(value: Value) -> list[tuple[int, int]]:
    """Where the `Few` factors are: axis and place in it, in the order of the axes of `ids`."""
    return [(a, i) for a, axis in enumerate(value.axes) for i, f in enumerate(axis)
            if isinstance(f, Few)]  # fmt: skip


def spots(value: Value, axis: int) -> list[int]:
    """The axes of `ids` that belong to an axis."""
    return [n for n, (a, _) in enumerate(few(value)) if a == axis]


def dims(axis: Axis) -> list[Dim]:
    """The named factors of an axis."""
    return [f for f in axis if isinstance(f, Dim)]


def each(store: Store, value: Value, make: Callable[[Term], Term]) -> Terms:
    """`make` of every term, once for equal ones."""
    different, place = np.unique(value.ids, return_inverse=True)
    made = np.array([make(int(t)) for t in different], dtype=np.int64)
    return made[place].reshape(value.ids.shape)


def permuted(value: Value, order: Sequence[int]) -> Value:
    """The axes in another order."""
    by_axis = [n for a in order for n in spots(value, a)]
    return Value(tuple(value.axes[a] for a in order), value.ids.transpose(by_axis))


def counted(store: Store, value: Value, axis: int) -> Value:
    """The axis as one `Few`: there is a term for each of its entries."""
    while named := dims(value.axes[axis]):
        value = _picked(store, value, axis, named[0])
    inside = spots(value, axis)
    size = int(np.prod([value.ids.shape[n] for n in inside])) if inside else 1
    at = inside[0] if inside else len([1 for a, _ in few(value) if a < axis])
    shape = [*value.ids.shape[:at], size, *value.ids.shape[at + len(inside) :]]
    return _axis(value, axis, (Few(size),), value.ids.reshape(shape))


def _picked(store: Store, value: Value, axis: int, dim: Dim) -> Value:
    """A named factor counted out: entry i of a term is a term."""
    if not sympy.sympify(dim.size).is_Integer or int(dim.size) * value.ids.size > LARGEST:
        raise NotShown(f"entries of an axis of {dim.size} are told apart")
    size, factors = int(dim.size), value.axes[axis]
    spot = factors.index(dim)
    at = [n for n, (a, i) in enumerate(few(value)) if (a, i) < (axis, spot)]
    parts = [each(store, value, lambda t, i=i: pick(store, t, dim.label, i)) for i in range(size)]  # type: ignore[misc]
    ids = np.stack(parts, axis=len(at))
    return _axis(value, axis, (*factors[:spot], Few(size), *factors[spot + 1 :]), ids)


def named(store: Store, value: Value, axis: int) -> Value:
    """The axis as at most one `Dim`: what is counted out is zipped into terms with that axis."""
    factors = value.axes[axis]
    if len(factors) == 0 or (len(factors) == 1 and isinstance(factors[0], Dim)):
        return value
    way = ("zip", *(f.label if isinstance(f, Dim) else f.size for f in factors))
    origin = next((root(f.label) for f in factors if isinstance(f, Dim)), way)
    (whole,) = axis_of(origin, value.size(axis)) or (Dim(way, 1),)
    label = whole.label  # type: ignore[union-attr]
    gone = frozenset(f.label for f in dims(factors))
    inside = spots(value, axis)
    rest = [n for n in range(value.ids.ndim) if n not in inside]
    moved = value.ids.transpose([*rest, *inside])
    flat = moved.reshape(-1, int(np.prod([value.ids.shape[n] for n in inside])))
    made = np.array([
        row[0] if len(set(row)) == 1 and not gone & store.dims[row[0]] else store.call(
            way, row, frozenset().union(*(store.dims[t] for t in row)) - gone | {label}
        )
        for row in (tuple(r) for r in flat.tolist())
    ], dtype=np.int64)  # fmt: skip
    ids = made.reshape([value.ids.shape[n] for n in rest])
    return _axis(value, axis, (whole,), ids)


def tidy(value: Value) -> Value:
    """Without factors of one entry, and with counted ones side by side as one."""
    axes: list[Axis] = []
    shape: list[int] = []
    for axis in value.axes:
        factors: list[Dim | Few] = []
        for factor in axis:
            if factor.size == 1:
                continue
            if isinstance(factor, Few) and factors and isinstance(factors[-1], Few):
                factors[-1] = Few(factors[-1].size * factor.size)
                shape[-1] *= factor.size
                continue
            factors.append(factor)
            if isinstance(factor, Few):
                shape.append(factor.size)
        axes.append(tuple(factors))
    return Value(tuple(axes), value.ids.reshape(shape))


def _axis(value: Value, axis: int, factors: Axis, ids: Terms) -> Value:
    return Value((*value.axes[:axis], factors, *value.axes[axis + 1 :]), ids)


def reshaped(store: Store, value: Value, wanted: Sequence[Size]) -> Value:
    """The factors regrouped into axes of these sizes; -1 stands for what is left."""
    value = tidy(value)
    factors = [f for axis in value.axes for f in axis]
    ids = value.ids
    target = [sympy.sympify(s) for s in wanted]
    if -1 in target:
        rest = sympy.prod([sympy.sympify(f.size) for f in factors])
        others = sympy.prod([t for t in target if t != -1])
        target[target.index(-1)] = sympy.cancel(rest / others)
    axes: list[Axis] = []
    queue = list(factors)
    done = 0  # `Few` factors that are placed
    for size in target:
        axis: list[Dim | Few] = []
        left = size
        while left != 1:
            if not queue:
                raise NotShown(f"a reshape to {tuple(target)}")
            factor = queue[0]
            whole = sympy.sympify(factor.size)
            remainder = sympy.cancel(left / whole)
            if _whole(remainder):
                axis.append(queue.pop(0))
                done += isinstance(factor, Few)
                left = remainder
                continue
            inner = sympy.cancel(whole / left)
            if isinstance(factor, Few) and _whole(inner) and inner.is_Integer:
                outer = int(left)
                ids = ids.reshape([*ids.shape[:done], outer, int(inner), *ids.shape[done + 1 :]])
                queue[0:1] = [Few(outer), Few(int(inner))]
                continue
            if isinstance(factor, Dim) and _whole(inner):
                queue[0:1] = list(split(store, factor, left, inner))
                ids = each(store, Value((), ids), _splitter(store, factor, left, inner))
                continue
            raise NotShown(f"a reshape that cuts an axis of {whole} at {left}")
        axes.append(tuple(axis))
    if queue:
        raise NotShown(f"a reshape to {tuple(target)}")
    return tidy(joined(store, Value(tuple(axes), ids)))


def _whole(size: Any) -> bool:
    """Whether a quotient of sizes is one: no fraction is left in it."""
    _, below = sympy.fraction(sympy.together(size))
    return bool(below == 1)


def split(store: Store, dim: Dim, outer: Size, inner: Size) -> tuple[Dim, Dim]:
    """The two axes that an axis is split into."""
    key = (dim.label, outer, inner)
    return Dim(("outer", *key), outer), Dim(("inner", *key), inner)


def _splitter(store: Store, dim: Dim, outer: Size, inner: Size) -> Callable[[Term], Term]:
    a, b = split(store, dim, outer, inner)

    def make(term: Term) -> Term:
        if dim.label not in store.dims[term]:
            return term
        what = store.what[term]
        if isinstance(what, tuple) and what[0] == ("merge", a.label, b.label):
            return int(what[1][0])
        own = store.dims[term] - {dim.label} | {a.label, b.label}
        return store.call(("split", dim.label, outer, inner), (term,), own, {a.label, b.label})

    return make


def joined(store: Store, value: Value) -> Value:
    """The two parts of an axis that was split, side by side again, are that axis."""
    for n, axis in enumerate(value.axes):
        for i, (a, b) in enumerate(pairwise(axis)):
            if not (isinstance(a, Dim) and isinstance(b, Dim)):
                continue
            if not (isinstance(a.label, tuple) and a.label[0] == "outer"
                    and b.label == ("inner", *a.label[1:])):  # fmt: skip
                continue
            _, label, outer, inner = a.label
            whole = Dim(label, outer * inner)

            def make(term: Term, a: Dim = a, b: Dim = b, whole: Dim = whole) -> Term:
                own = store.dims[term]
                if not own & {a.label, b.label}:
                    return term
                what = store.what[term]
                if isinstance(what, tuple) and what[0] == ("split", whole.label, *a.label[2:]):  # type: ignore[index]
                    return int(what[1][0])
                own = own - {a.label, b.label} | {whole.label}
                return store.call(("merge", a.label, b.label), (term,), own, {whole.label})

            factors = (*axis[:i], whole, *axis[i + 2 :])
            return joined(store, _axis(value, n, factors, each(store, value, make)))
    return value
