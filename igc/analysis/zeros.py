"""Forward zeros: which channels of a value are zero, along every axis at once.

A form (`igc.analysis.form`) tells what the channels of one axis are. A mask over heads times one
inside the heads is zero along two axes, and a head whose values are masked is zero in a product
that adds up along another axis. What is zero is found here for all axes, from the operands' zeros
alone. There is no tolerance: a constant's channel is zero where every element of it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from igc.analysis.form import Form, Forms, Piece
from igc.ops.relations import Concat, Follow, Mixing, Pointwise, Regroup, Relation, Select, Take
from igc.program.nodes import mapped

Mask = NDArray[np.bool_]
Zeros = dict[int, Mask]  # by axis; an axis without a zero channel is left out
LARGEST_MASK = 1 << 16  # elements of a constant that is searched for zeros along every axis


def zeros_of(node: fx.Node, forms: Forms) -> Zeros:
    """The zero channels of a value, by axis: of a constant, or as found when it was visited."""
    found = forms.zeros.get(node)
    constant = None if found is not None else forms.facts.constant(node)
    if constant is not None:
        found = forms.zeros[node] = _of_constant(constant)
    found = dict(found or {})
    form = forms.form.get(node)
    if form is not None and form.axis is not None:
        mask = form.constant & (form.shift == 0)
        if mask.any():
            found[form.axis] = found[form.axis] | mask if form.axis in found else mask
    return found


def zero_channels(node: fx.Node, relation: Relation, forms: Forms) -> Zeros:
    """The zero channels of a call, by axis, from those of its operands."""
    found: Zeros = {}
    if isinstance(relation, Select):
        found = _select(relation, forms)
        relation = relation.written
    if isinstance(relation, Pointwise):
        found = _either([found, _pointwise(node, relation, forms)])
    elif isinstance(relation, Mixing):
        found = _mixing(relation, forms)
    elif isinstance(relation, Take):
        found = _take(relation, forms)
    elif isinstance(relation, Concat):
        found = _concat(relation, forms)
    elif isinstance(relation, Regroup):
        found = _regroup(node, relation, forms)
    dynamic = forms.facts.dynamic(node)
    return {a: m for a, m in found.items() if m.any() and not dynamic[a]}


def of_zeros(node: fx.Node, relation: Relation, zeros: Zeros) -> Form | None:
    """The form of a node that computes all but its zero channels, along the axis with most."""
    written = relation.written if isinstance(relation, Select) else relation
    fixed: frozenset[int] = getattr(written, "fixed", frozenset())
    axes = [a for a in zeros if a not in fixed]
    if not axes:
        return None
    axis = max(axes, key=lambda a: (float(zeros[a].mean()), -a))
    size = len(zeros[axis])
    piece = Piece(node, np.arange(size), (~zeros[axis]).astype(np.float64))
    return Form(axis, (piece,), np.zeros(size), np.ones(size, dtype=np.int64))


def _of_constant(value: Tensor) -> Zeros:
    if not 0 < value.numel() <= LARGEST_MASK or not value.dtype.is_floating_point:
        return {}
    zero = value.detach() == 0
    found = {
        axis: zero.movedim(axis, 0).reshape(size, -1).all(dim=1).numpy()
        for axis, size in enumerate(value.shape)
    }
    return {a: m for a, m in found.items() if m.any()}


def _followed(follow: Follow, forms: Forms) -> Zeros:
    """The zeros of an operand along the output's axes."""
    return {
        out: mask
        for axis, mask in zeros_of(follow.node, forms).items()
        if (out := follow.axes[axis]) is not None
    }


def _either(parts: Iterable[Zeros]) -> Zeros:
    """Zero where any part is."""
    found: Zeros = {}
    for part in parts:
        for axis, mask in part.items():
            found[axis] = found[axis] | mask if axis in found else mask
    return found


def _all(parts: list[Zeros]) -> Zeros:
    """Zero where every part is."""
    shared = set.intersection(*(set(p) for p in parts)) if parts else set()
    return {a: np.logical_and.reduce([p[a] for p in parts]) for a in shared}


def _select(relation: Select, forms: Forms) -> Zeros:
    """Along its own axis the form knows; along the others every term must be zero."""
    if relation.shift.any():
        return {}
    terms = [zeros_of(t.node, forms) for t in relation.terms if t.coefficient.any()]
    return _all(terms)


def _pointwise(node: fx.Node, relation: Pointwise, forms: Forms) -> Zeros:
    parts = [_followed(f, forms) for f in relation.operands]
    found = _either(parts) if relation.annihilates else {}
    zeroed = [parts[i] for i in relation.zeroed]
    found = _either([found, dict(relation.zeros), *zeroed])
    if not any(parts) or relation.survives == "none":
        return found
    if relation.survives in ("same", "zero") or _keeps_zero(node, relation, forms):
        found = _either([found, _all(parts)])
    return found


def _keeps_zero(node: fx.Node, relation: Pointwise, forms: Forms) -> bool:
    """Whether a function of numbers is zero where all its operands are."""
    constant = any(f.node.op == "get_attr" for f in relation.operands)
    if constant or not isinstance(node.target, torch._ops.OpOverload):
        return False
    args, kwargs = mapped((node.args, node.kwargs), lambda n: torch.zeros((), dtype=torch.float64))
    try:
        value = node.target(*args, **kwargs)
    except (RuntimeError, TypeError, IndexError):
        return False
    return isinstance(value, Tensor) and value.ndim == 0 and bool(value == 0)


def _mixing(relation: Mixing, forms: Forms) -> Zeros:
    """A product is zero along every axis along which one of its factors is, but that it adds up."""
    bias = relation.bias
    if bias is not None:
        value = forms.facts.constant(bias)
        if value is None or bool((value != 0).any()):
            return {}
    found = _either([_followed(relation.x, forms), _followed(relation.weight, forms)])
    silent = zeros_of(relation.weight.node, forms).get(relation.w_out)
    if silent is not None and not (relation.transposed and relation.groups > 1):
        found = _either([found, {relation.out_axis: silent}])
    return {a: m for a, m in found.items() if a not in relation.fixed}


def _take(relation: Take, forms: Forms) -> Zeros:
    found: Zeros = {}
    for axis, mask in zeros_of(relation.x, forms).items():
        if axis == relation.axis:
            if relation.drops:
                continue
            index = relation.index
            found[axis] = np.where(index < 0, relation.fill == 0, mask[np.maximum(index, 0)])
        elif relation.drops:
            found[axis - (axis > relation.axis)] = mask
        elif not (relation.index < 0).any() or relation.fill == 0:
            found[axis] = mask
    return found


def _concat(relation: Concat, forms: Forms) -> Zeros:
    parts = [zeros_of(n, forms) for n in relation.operands]
    others = [{a: m for a, m in p.items() if a != relation.axis} for p in parts]
    found = _all(others)  # along the axis the parts have widths of their own
    widths = [forms.facts.shape(n)[relation.axis] for n in relation.operands]
    found[relation.axis] = np.concatenate([
        p.get(relation.axis, np.zeros(w, dtype=bool)) for p, w in zip(parts, widths, strict=True)
    ])  # fmt: skip
    return found


def _regroup(node: fx.Node, relation: Regroup, forms: Forms) -> Zeros:
    known, found = zeros_of(relation.x, forms), Zeros()
    if not known:
        return {}
    before, after = forms.facts.shape(relation.x), forms.facts.shape(node)
    dynamic = forms.facts.dynamic(relation.x)
    for into, out in relation.groups:
        if not any(a in known for a in into) or any(dynamic[a] for a in into):
            continue
        box = np.zeros([before[a] for a in into], dtype=bool)
        for i, a in enumerate(into):
            if a in known:
                shape = [-1 if j == i else 1 for j in range(len(into))]
                box |= known[a].reshape(shape)
        box = box.reshape([after[a] for a in out])
        for i, a in enumerate(out):
            others = tuple(j for j in range(len(out)) if j != i)
            found[a] = np.asarray(box.all(axis=others), dtype=np.bool_)
    return found
