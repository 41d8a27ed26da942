"""Operations that mix channels or entries: contractions, products, pools, norms, reductions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from igc.audit.translation.algebra import Algebra, Operand
from igc.audit.translation.terms import LINEAR, Label, NotShown, Numbers, Term, Terms
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


@dataclass(frozen=True)
class Window:
    """A window that moves over the spatial axes: one number per axis, pads before and after."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    up: bool = False  # the last window may reach over the edge

    @property
    def trivial(self) -> bool:
        """Whether it is one entry, moved by one."""
        ones = all(n == 1 for n in (*self.kernel, *self.stride))
        return ones and not any((*self.before, *self.after))

    @property
    def padded(self) -> bool:
        """Whether it reaches over the edge."""
        return any((*self.before, *self.after)) or self.up

    def size(self, axis: int, size: Size) -> Size:
        """How many places it takes along a spatial axis."""
        k, s, d = self.kernel[axis], self.stride[axis], self.dilation[axis]
        room = sympy.sympify(size) + self.before[axis] + self.after[axis] - d * (k - 1) - 1
        if not self.up:
            return quotient(room + s, s)
        count = quotient(room + 2 * s - 1, s)
        if count.is_Integer and (count - 1) * s >= size + self.before[axis]:
            return count - 1  # a window that would begin behind the image
        return count


class Layers(Algebra):
    """The operations of layers."""

    # --- contractions -------------------------------------------------------------------------

    def linear(self, x: Value, weight: Numbers, bias: Numbers | None) -> Value:
        """x @ weight.T + bias over the last axis; weight [out, in]."""
        last = len(x.axes) - 1
        x = counted(self.store, x, last)
        made = self._contracted(LINEAR, x.ids, weight[:, :, None], bias, ())
        return tidy(Value((*x.axes[:-1], (Few(len(weight)),)), made))

    def _contracted(
        self, operator: Hashable, ids: Terms, weights: Numbers, bias: Numbers | None,
        labels: Sequence[Sequence[Label]], border: bool = False,
    ) -> Terms:  # fmt: skip
        """Rows over the last axis of `ids`; `border`: a window sees zeros beside a constant."""
        flat = ids.reshape(-1, ids.shape[-1])
        made = np.zeros((len(flat), len(weights)), dtype=np.int64)
        for n, atoms in enumerate(flat):
            made[n] = self._rows(operator, atoms, weights, bias, labels, border)
        return made.reshape(*ids.shape[:-1], len(weights))

    def _rows(
        self, operator: Hashable, atoms: Terms, weights: Numbers, bias: Numbers | None,
        labels: Sequence[Sequence[Label]], border: bool,
    ) -> list[Term]:  # fmt: skip
        store = self.store
        shift = np.zeros(len(weights)) if bias is None else bias.astype(np.float64)
        most = np.abs(shift)
        numbers = [store.value(int(a)) for a in atoms]
        fixed = np.array([n is not None for n in numbers])
        values = np.array([0.0 if n is None else n for n in numbers])
        if fixed.any():
            part = weights[:, fixed] * values[fixed][None, :, None]
            if border:  # a constant, seen through a window that reaches over the edge
                atoms = np.where(fixed, store.one, atoms)
                weights = np.where(fixed[None, :, None], weights * values[None, :, None], weights)
            else:
                shift = shift + part.sum(axis=(1, 2))
                most = most + np.abs(part).sum(axis=(1, 2))
                atoms, weights = atoms[~fixed], weights[:, ~fixed]
        if not len(atoms):
            return [store.number(s, m) for s, m in zip(shift.tolist(), most.tolist(), strict=True)]
        own: frozenset[Label] = frozenset()
        if operator != LINEAR:
            inside = frozenset().union(*(store.dims[int(a)] for a in atoms))
            own = inside - frozenset(labels[0]) | frozenset(labels[1])
        bases, scales = store.rows(operator, atoms, weights, own)
        return [
            store.sum([(b, c)], s, m)
            for b, c, s, m in zip(bases, scales, shift.tolist(), most.tolist(), strict=True)
        ]

    def convolution(
        self, x: Value, weight: Numbers, bias: Numbers | None, window: Window, groups: int,
        transposed: Sequence[int] | None = None,
    ) -> Value:  # fmt: skip
        """A convolution of [N, C, ...]; weight [out, in / groups, ...].

        `transposed` is the output padding of a transposed one, whose weight is [in, out / groups].
        """
        axes = len(window.kernel)
        x = counted(self.store, x, 1)
        if window.trivial and transposed is None:
            operator: Hashable = LINEAR
            outs = [x.axes[a + 2] for a in range(axes)]
            labels: Any = ()
        else:
            for a in range(axes):
                x = named(self.store, x, a + 2)
                x = x if x.axes[a + 2] else self._unit(x, a + 2)
            before = [dims(x.axes[a + 2])[0] for a in range(axes)]
            kind = ("conv", window) if transposed is None else ("convT", window, tuple(transposed))
            outs = [self._out(kind, window, a, d, transposed) for a, d in enumerate(before)]
            operator = (kind, tuple(d.label for d in before))
            labels = ([d.label for d in before], [d.label for out in outs for d in dims(out)])
        at = spots(x, 1)[0]
        ids = np.moveaxis(x.ids, at, -1)
        kernel = weight.reshape(*weight.shape[:2], -1)
        border = transposed is not None or (operator != LINEAR and window.padded)
        parts = []
        wide = ids.shape[-1] // groups
        for g in range(groups):
            if transposed is None:
                rows = len(kernel) // groups
                block = kernel[g * rows : (g + 1) * rows]
            else:
                rows = kernel.shape[1]
                block = kernel[g * wide : (g + 1) * wide].swapaxes(0, 1)
            own = None if bias is None else bias[g * rows : (g + 1) * rows]
            parts.append(self._contracted(operator, ids[..., g * wide : (g + 1) * wide], block,
                                          own, labels, border))  # fmt: skip
        made = np.moveaxis(np.concatenate(parts, axis=-1), -1, at)
        return tidy(Value((x.axes[0], (Few(made.shape[at]),), *outs), made))

    def _unit(self, x: Value, axis: int) -> Value:
        return Value((*x.axes[:axis], (Dim(("unit", axis), 1),), *x.axes[axis + 1 :]), x.ids)

    def _out(
        self, kind: Any, window: Window, a: int, dim: Dim, transposed: Sequence[int] | None
    ) -> Axis:
        if transposed is None:
            size = window.size(a, dim.size)
        else:
            size = (
                (sympy.sympify(dim.size) - 1) * window.stride[a] - window.before[a]
                - window.after[a] + window.dilation[a] * (window.kernel[a] - 1) + transposed[a] + 1
            )  # fmt: skip
        return self._renamed(dim, size)

    def _renamed(self, dim: Dim, size: Size) -> Axis:
        """The axis that a window makes."""
        return axis_of(root(dim.label), size)

    def product(self, a: Operand, b: Operand) -> Operand:
        """The matrix product, as torch's matmul."""
        if isinstance(a, Known) and isinstance(b, Known):
            return Known(a.numbers @ b.numbers)
        if isinstance(b, Known) and b.array.ndim == 2 and isinstance(a, Value):
            return self.linear(a, b.numbers.T, None)
        x, y = self.value(a), self.value(b)
        if len(x.axes) < 2 or len(y.axes) < 2:
            raise NotShown("a product with a vector")
        m, k, k2, n = len(x.axes) - 2, len(x.axes) - 1, len(y.axes) - 2, len(y.axes) - 1
        if not dims(x.axes[k]) or not dims(y.axes[k2]):
            x, y = counted(self.store, x, k), counted(self.store, y, k2)
        else:
            x, y = named(self.store, x, k), named(self.store, y, k2)
        # [..., m, k, 1] * [..., 1, n, k]: then the last axis is added up.
        left = Value((*x.axes[: m + 1], (), x.axes[k]), x.ids)
        turned = permuted(y, [*range(k2), n, k2])
        right = Value((*turned.axes[:k2], (), *turned.axes[k2:]), turned.ids)
        rank = max(len(left.axes), len(right.axes))
        left, right = (Value(((),) * (rank - len(v.axes)) + v.axes, v.ids) for v in (left, right))
        axes, (p, q) = self.aligned([left, right])
        shape = np.broadcast_shapes(p.shape, q.shape)
        p, q = np.broadcast_to(p, shape), np.broadcast_to(q, shape)
        last = axes[-1]
        label = dims(last)[0].label if dims(last) else None
        if label is None:
            pairs = list(zip(p.reshape(-1, shape[-1]).tolist(), q.reshape(-1, shape[-1]).tolist(),
                             strict=True))  # fmt: skip
            made = [self._dot(one, other) for one, other in pairs]
            ids = np.array(made, dtype=np.int64).reshape(shape[:-1])
        else:
            ids = np.array([
                self.store.call(("dot", label), (one, other),
                                (self.store.dims[one] | self.store.dims[other]) - {label}, {label})
                for one, other in zip(p.reshape(-1).tolist(), q.reshape(-1).tolist(), strict=True)
            ], dtype=np.int64).reshape(shape)  # fmt: skip
        return tidy(Value(axes[:-1], ids))

    def _dot(self, left: list[Term], right: list[Term]) -> Term:
        """The sum of products of pairs; those with a number are a sum with coefficients."""
        total: list[tuple[Term, float]] = []
        pairs = []
        for one, other in zip(left, right, strict=True):
            a, b = self.store.value(one), self.store.value(other)
            if a is not None or b is not None:
                total.append((one, b) if b is not None else (other, a or 0.0))
            else:
                pairs += [tuple(sorted((one, other)))]
        if pairs:
            flat = tuple(t for pair in sorted(pairs) for t in pair)
            own = frozenset().union(*(self.store.dims[t] for t in flat))
            total.append((self.store.call("dot", flat, own), 1.0))
        return self.store.sum(total)

    # --- windows ------------------------------------------------------------------------------

    def pool(self, x: Value, kind: str, window: Window, inside: bool = True) -> Value:
        """Means or maxima of windows; `inside`: padding does not count."""
        axes = len(window.kernel)
        first = len(x.axes) - axes
        for a in range(axes):
            x = named(self.store, x, first + a)
            x = x if x.axes[first + a] else self._unit(x, first + a)
        before = [dims(x.axes[first + a])[0] for a in range(axes)]
        outs = [self._renamed(d, window.size(a, d.size)) for a, d in enumerate(before)]
        gone, come = {d.label for d in before}, {d.label for out in outs for d in dims(out)}
        op = (kind, window, inside or not window.padded, tuple(d.label for d in before))

        def make(term: Term) -> Term:
            if self.store.value(term) is not None and (inside or not window.padded):
                return term
            return self.store.call(op, (term,), self.store.dims[term] - gone | come, gone | come)

        return tidy(Value((*x.axes[:first], *outs), each(self.store, x, make)))

    def resized(self, x: Value, how: Hashable, sizes: Sequence[Size]) -> Value:
        """Spatial axes brought to other sizes."""
        first = len(x.axes) - len(sizes)
        for a in range(len(sizes)):
            x = named(self.store, x, first + a)
            x = x if x.axes[first + a] else self._unit(x, first + a)
        before = [dims(x.axes[first + a])[0] for a in range(len(sizes))]
        outs = [self._renamed(d, s) for d, s in zip(before, sizes, strict=True)]
        gone, come = {d.label for d in before}, {d.label for out in outs for d in dims(out)}
        op = ("resize", how, tuple((d.label, sympy.sympify(s)) for d, s in
                                   zip(before, sizes, strict=True)))  # fmt: skip

        def make(term: Term) -> Term:
            if self.store.value(term) is not None:
                return term
            return self.store.call(op, (term,), self.store.dims[term] - gone | come, gone | come)

        return tidy(Value((*x.axes[:first], *outs), each(self.store, x, make)))

    def padded(self, x: Value, mode: str, amounts: Sequence[tuple[int, int]], fill: float) -> Value:
        """Padding before and after each axis."""
        for axis, (before, after) in enumerate(amounts):
            if not before and not after:
                continue
            if before < 0 or after < 0:
                raise NotShown("padding that cuts off")
            if not dims(x.axes[axis]) and mode == "constant":
                parts: list[Operand] = [x]
                for n, where in ((before, 0), (after, 2)):
                    if n:
                        shape = [1] * len(x.axes)
                        shape[axis] = n
                        parts.insert(where, Known(np.full(shape, fill)))
                x = self.value(self.concat(parts, axis))
            else:
                size = x.size(axis) + before + after
                x = self.along(("pad", mode, before, after, fill), x, axis, size)
        return x

    # --- whole axes ---------------------------------------------------------------------------

    def reduced(self, x: Value, kind: str, axes: Sequence[int], keep: bool) -> Value:
        """A mean, sum, largest, ... over axes."""
        labels = [d for a in axes for d in dims(x.axes[a])]
        inside = [n for a in axes for n in spots(x, a)]
        rest = [n for n in range(x.ids.ndim) if n not in inside]
        moved = x.ids.transpose([*rest, *inside])
        flat = moved.reshape(-1, int(np.prod([x.ids.shape[n] for n in inside], dtype=int)))
        made = np.array([self._reduced(kind, row, labels) for row in flat.tolist()],
                        dtype=np.int64).reshape([x.ids.shape[n] for n in rest])  # fmt: skip
        kept = tuple(() if a in axes else axis for a, axis in enumerate(x.axes)
                     if keep or a not in axes)  # fmt: skip
        return tidy(Value(kept, made))

    def _reduced(self, kind: str, row: list[Term], labels: Sequence[Dim]) -> Term:
        parts = [self._over(kind, term, labels) for term in row]
        if kind == "mean":
            return self.store.sum([(p, 1.0 / len(parts)) for p in parts])
        if kind == "sum":
            return self.store.sum([(p, 1.0) for p in parts])
        if len(parts) == 1:
            return parts[0]
        if kind in ("largest", "smallest"):
            parts = list(dict.fromkeys(parts))
        own = frozenset().union(*(self.store.dims[p] for p in parts))
        return self.store.call(("over", kind), tuple(sorted(parts)), own)

    def _over(self, kind: str, term: Term, labels: Sequence[Dim]) -> Term:
        own = {d.label for d in labels} & self.store.dims[term]
        if kind == "sum":
            missing = [sympy.sympify(d.size) for d in labels if d.label not in own]
            count = sympy.sympify(sympy.prod(missing))
            if not count.is_Integer:
                raise NotShown("a sum over an axis of unknown size of what is the same along it")
            part = self.store.parts(term)
            if own:
                total = self.store.call(("over", "sum", frozenset(own)), (term,),
                                        self.store.dims[term] - own)  # fmt: skip
                return self.store.sum([(total, float(count))])
            return self.store.sum([(part.base, part.scale * float(count))],
                                  part.shift * float(count))  # fmt: skip
        if not own:
            return term
        return self.store.call(("over", kind, frozenset(own)), (term,), self.store.dims[term] - own)

    def normalised(self, x: Value, axes: Sequence[int], eps: float, kind: str = "mean") -> Value:
        """(x - mean) / sqrt(variance + eps) over axes."""
        labels = frozenset(d.label for a in axes for d in dims(x.axes[a]))

        def make(row: list[Term]) -> list[Term]:
            own = frozenset().union(*(self.store.dims[t] for t in row))
            group = self.store.call((kind, eps, labels), tuple(sorted(row)), own - labels, labels)
            return [self.store.call(("normal", kind), (t, group), own) for t in row]

        return self._over_rows(x, axes, make)

    def softmax(self, x: Value, axis: int, kind: str = "softmax") -> Value:
        """A softmax along an axis."""
        labels = frozenset(d.label for d in dims(x.axes[axis]))

        def make(row: list[Term]) -> list[Term]:
            own = frozenset().union(*(self.store.dims[t] for t in row))
            if len(row) == 1:
                return [self.store.call((kind, labels), row, own | labels, labels)]
            group = self.store.call((kind, labels), tuple(sorted(row)), own - labels, labels)
            return [self.store.call(("share", kind), (t, group), own) for t in row]

        return self._over_rows(x, [axis], make)

    @staticmethod
    def _over_rows(
        x: Value, axes: Sequence[int], make: Callable[[list[Term]], list[Term]]
    ) -> Value:
        """What `make` makes of the terms along counted axes, row by row; the axes stay."""
        inside = [n for a in axes for n in spots(x, a)]
        order = [*(n for n in range(x.ids.ndim) if n not in inside), *inside]
        moved = x.ids.transpose(order)
        flat = moved.reshape(-1, int(np.prod([x.ids.shape[n] for n in inside], dtype=int)))
        made = [make(row) for row in flat.tolist()]
        ids = np.array(made, dtype=np.int64).reshape(moved.shape)
        return Value(x.axes, ids.transpose(np.argsort(order)))

    def opened(self, op: Hashable, x: Value, axis: int, gone: bool, keep: bool) -> Value:
        """An operation along one axis whose order matters: argmax, cumulative sums."""
        return self.along(op, x, axis, 1 if gone else None, gone=gone and not keep)
