"""One entry of a term along an axis: that of what it is made of, where entries do not meet.

Lemma. Where an operation does not mix the entries of an axis, entry i of its result is its result
on entries i. So a network of which only the first token is read is that of the first token.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from igc.audit.translation.terms import LINEAR, Affine, Label, Numbers, Store, Term

#: Operations whose operands are a set, or pairs, and stand in order of their numbers.
COMMUTE = frozenset({"mul", "max", "min", "eq", "and", "or", "xor"})
GROUPS = frozenset({"mean", "softmax", "log softmax", "over"})


def pick(store: Store, term: Term, label: Label, index: int) -> Term:
    """Entry `index` of a term along one of its axes; the term itself where it has no such axis."""
    if label not in store.dims[term]:
        return term
    key = term, label, index
    if key not in store.entries:
        store.entries[key] = _entry(store, term, label, index)
    return store.entries[key]


def _entry(store: Store, term: Term, label: Label, index: int) -> Term:
    what = store.what[term]
    if isinstance(what, Affine):
        return store.sum([(pick(store, what.base, label, index), what.scale)], what.shift)
    own = store.dims[term] - {label}
    if term in store.weights:
        operator, atoms, row = store.weights[term]
        if operator is None or operator == LINEAR:
            parts = np.array([pick(store, int(a), label, index) for a in atoms], dtype=np.int64)
            if operator is None:
                return store.sum(zip(parts.tolist(), row[:, 0].tolist(), strict=True))
            (base,), (scale,) = store.rows(LINEAR, parts, row[None], ())
            return store.sum([(base, scale)])
        return store.call(("pick", label, index), (term,), own)
    op, operands = what
    kind = op[0] if isinstance(op, tuple) else op
    if kind == "constant":
        labels = op[1]
        return constant(store, np.take(_array(op), index, axis=labels.index(label)),
                        [each for each in labels if each != label])  # fmt: skip
    if kind == "concat" and op[1] == label:
        for piece, (inner, size) in zip(operands, op[2], strict=True):
            if index < size:
                return piece if inner is None else pick(store, piece, inner, index)
            index -= size
    if not operands or label in store.along[term]:
        return store.call(("pick", label, index), (term,), own)
    parts_ = tuple(pick(store, t, label, index) for t in operands)
    if isinstance(op, tuple) and op[0] == "dot" and op[1] == again(label):
        # The axis was renamed beside `label`, which is gone: it can have its own name.
        free = all(label not in store.dims[t] for t in parts_)
        if free and isinstance(operands, tuple):
            parts_ = tuple(relabelled(store, t, op[1], label) for t in parts_)
            return store.call(("dot", label), parts_, own, {label})
    return store.call(op, ordered(op, parts_), own, store.along[term] - {label})


def again(label: Label) -> Label:
    """The name of a second axis that comes from the same one."""
    return ("again", label)


def relabelled(store: Store, term: Term, old: Label, new: Label) -> Term:
    """The term with another name for an axis, down to where it got the old one."""
    if old not in store.dims[term]:
        return term
    what = store.what[term]
    if isinstance(what, Affine):
        return store.sum([(relabelled(store, what.base, old, new), what.scale)], what.shift)
    if term in store.weights:
        operator, atoms, row = store.weights[term]
        if operator in (None, LINEAR):
            pairs = zip(atoms.tolist(), row[:, 0].tolist(), strict=True)
            if operator is None:
                return store.sum([(relabelled(store, a, old, new), w) for a, w in pairs])
            parts = np.array([relabelled(store, a, old, new) for a, _ in pairs], dtype=np.int64)
            (base,), (scale,) = store.rows(LINEAR, parts, row[None], ())
            return store.sum([(base, scale)])
        return store.renamed(term, {old: new})
    op, operands = what
    if op == ("rename", frozenset({(new, old)})):
        return int(operands[0])
    own = store.dims[term] - {old} | {new}
    along = store.along[term]
    if isinstance(op, tuple) and op[0] in GROUPS and old in along and len(op) == 2:
        op = (op[0], frozenset(new if each == old else each for each in op[1]))
        along = along - {old} | {new}
    if not operands or old in along:
        return store.renamed(term, {old: new})
    return store.call(op, ordered(op, tuple(relabelled(store, t, old, new) for t in operands)),
                      own, along)  # fmt: skip


def ordered(op: Hashable, operands: tuple[Term, ...]) -> tuple[Term, ...]:
    """The operands as `Store.call` has them: of a set, in the order of their numbers."""
    kind = op[0] if isinstance(op, tuple) else op
    if kind in COMMUTE or kind in GROUPS:
        return tuple(sorted(operands))
    if op == "dot":
        pairs = sorted(tuple(sorted(p)) for p in zip(operands[::2], operands[1::2], strict=True))
        return tuple(t for pair in pairs for t in pair)
    return operands


def constant(store: Store, array: Numbers, labels: list[Label]) -> Term:
    """Numbers along named axes, one for each of the array's, as a term."""
    if not labels or bool((array == array.flat[0]).all()):
        return store.number(float(array.flat[0]))
    data = np.ascontiguousarray(array, dtype=np.float32)
    return store.call(("constant", tuple(labels), (data.shape, data.tobytes())), (), labels)


def _array(op: Any) -> Numbers:
    shape, data = op[2]
    return np.frombuffer(data, dtype=np.float32).reshape(shape).astype(np.float64)
