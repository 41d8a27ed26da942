"""Forward constants through ops that are not sums: which channels are known, and their values.

A channel is known where every input of it is known and the op is evaluated on those inputs, or
where a contraction has nothing but zero weights or zero inputs. There is no tolerance anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from igc.analysis.form import Form, Forms, Piece
from igc.analysis.zeros import zeros_of
from igc.errors import IgcError
from igc.ops.relations import Blocks, Mixing, Pointwise, Regroup, Relation, Select
from igc.program.dtypes import narrower, retyped
from igc.program.nodes import mapped

Known = tuple[int, NDArray[np.bool_], NDArray[np.float64]]  # axis, which, value


def known_channels(node: fx.Node, relation: Relation, forms: Forms) -> Form | None:
    """The form of a node some of whose channels are constants; `None` where there are none."""
    found: Known | None = None
    if isinstance(relation, Select):
        relation = relation.written
    if isinstance(relation, Pointwise):
        found = _pointwise(node, relation, forms)
    elif isinstance(relation, Mixing):
        found = _mixing(node, relation, forms)
    elif isinstance(relation, Regroup):
        found = _regroup(relation, forms)
    elif isinstance(relation, Blocks) and relation.survives != "none":
        found = _blocks(relation, forms)
    if found is None or not found[1].any():
        return None
    axis, mask, values = found
    dtype = forms.facts.at[node].dtype
    if dtype is not None and narrower(dtype, forms.facts.program.dtype):
        # evaluated in float64: exact where the type holds the value, else rounded elsewhere
        mask = mask & (torch.from_numpy(values).to(dtype).double().numpy() == values)
    size = len(mask)
    if forms.facts.dynamic(node)[axis]:
        return None
    piece = Piece(node, np.arange(size), (~mask).astype(np.float64))
    return Form(axis, (piece,), np.where(mask, values, 0.0), np.ones(size, dtype=np.int64))


def known_of(node: fx.Node, forms: Forms) -> Known | None:
    """The known channels of an operand."""
    form = forms.form.get(node)
    if form is None or form.axis is None:
        return None
    mask = form.constant
    return (form.axis, mask, form.shift) if mask.any() else None


def _pointwise(node: fx.Node, relation: Pointwise, forms: Forms) -> Known | None:
    if relation.known is not None:
        return _merge(relation.known, _evaluated(node, relation, forms))
    return _evaluated(node, relation, forms)


def _merge(a: Known, b: Known | None) -> Known:
    if b is None or b[0] != a[0]:
        return a
    return a[0], a[1] | b[1], np.where(a[1], a[2], b[2])


def _evaluated(node: fx.Node, relation: Pointwise, forms: Forms) -> Known | None:
    if relation.survives == "none":
        return None
    out = forms.facts.shape(node)
    for follow in relation.operands:
        known = known_of(follow.node, forms)
        axis = None if known is None else follow.axes[known[0]]
        if known is None or axis is None:
            continue
        if relation.survives == "same":
            return axis, known[1], known[2]
        if relation.survives == "zero":
            return axis, known[1] & (known[2] == 0), np.zeros(out[axis])
        found = _evaluate(node, relation, axis, out, forms)
        if relation.annihilates:
            zero = known[1] & (known[2] == 0)
            for other in relation.operands:
                k = known_of(other.node, forms)
                if k is not None and other.axes[k[0]] == axis:
                    zero = zero | (k[1] & (k[2] == 0))
            mask = zero if found is None else found[1] | zero
            values = np.zeros(out[axis]) if found is None else np.where(zero, 0.0, found[2])
            found = axis, mask, values
        if found is not None:
            return found
    return None


def _evaluate(
    node: fx.Node, relation: Pointwise, axis: int, out: tuple[int, ...], forms: Forms
) -> Known | None:
    """Run the op on the known values, one element per channel."""
    size = out[axis]
    which = np.ones(size, dtype=bool)
    feed: dict[fx.Node, Tensor] = {}
    for follow in relation.operands:
        constant = forms.facts.constant(follow.node)
        if constant is not None:
            line = _line(constant, follow.axes, axis)
            if line is None:
                return None
            feed[follow.node] = line
            continue
        known = known_of(follow.node, forms)
        if known is None or follow.axes[known[0]] != axis:
            return None
        which &= known[1]
        shape = [1] * len(follow.axes)
        shape[known[0]] = size
        feed[follow.node] = torch.from_numpy(np.where(known[1], known[2], 0.0)).reshape(shape)
    if not which.any():
        return None
    args, kwargs = mapped((node.args, node.kwargs), lambda n: feed.get(n, n))
    if any(isinstance(a, fx.Node) for a in (*args, *kwargs.values())):
        return None
    try:
        args, kwargs = retyped((args, kwargs), torch.float64)
        value = cast("Callable[..., Any]", node.target)(*args, **kwargs)
    except (RuntimeError, IgcError):
        return None
    if not isinstance(value, Tensor) or value.numel() != size:
        return None
    return axis, which, value.detach().double().reshape(-1).numpy()


def _line(constant: Tensor, axes: tuple[int | None, ...], axis: int) -> Tensor | None:
    """A constant operand reduced to the one axis along which it may vary."""
    value = constant.detach()
    value = value.double() if value.dtype.is_floating_point else value
    for a in range(value.ndim):
        if axes[a] != axis and value.shape[a] > 1:
            first = value.narrow(a, 0, 1)
            if not bool((value == first).all()):
                return None
            value = first
    return value


def pattern(relation: Mixing, forms: Forms) -> NDArray[np.bool_] | None:
    """[out, in] of a constant weight: which pairs have any non-zero element; `None` if unknown.

    With groups the in axis (out axis where transposed) counts channels within a group.
    """
    node, out, into = relation.weight.node, relation.w_out, relation.w_in
    key = (node, out, into)
    if key not in forms.patterns:
        weight = forms.facts.constant(node)
        if weight is None:
            return None
        rest = [a for a in range(weight.ndim) if a not in (out, into)]
        nonzero = (weight != 0).permute(out, into, *rest)
        forms.patterns[key] = (nonzero.flatten(2).any(dim=2) if rest else nonzero).numpy()
    return forms.patterns[key]


def live_inputs(relation: Mixing, forms: Forms) -> NDArray[np.bool_]:
    """Which input channels can be non-zero."""
    size = forms.facts.shape(relation.x.node)[relation.x_axis]
    known = known_of(relation.x.node, forms)
    live = np.ones(size, dtype=bool)
    if known is not None and known[0] == relation.x_axis:
        live &= ~(known[1] & (known[2] == 0))
    elif known is not None and bool((known[1] & (known[2] == 0)).all()):
        live[:] = False  # zero along another axis, all of it
    zero = zeros_of(relation.x.node, forms).get(relation.x_axis)
    if zero is not None:
        live &= ~zero
    other = zeros_of(relation.weight.node, forms).get(relation.w_in)
    if other is not None and relation.groups == 1:
        live &= ~other
    return live


def effective(relation: Mixing, forms: Forms) -> NDArray[np.bool_] | None:
    """[out, in within its group]: which weights multiply something that can be non-zero.

    `None` where the weight is computed and every pair counts.
    """
    known = pattern(relation, forms)
    if known is None:
        return None
    live = live_inputs(relation, forms).reshape(relation.groups, -1)  # [G, I/G]
    if relation.transposed:  # known is [O/G, I]
        grouped = known.reshape(known.shape[0], relation.groups, -1).transpose(1, 0, 2)
        known = grouped.reshape(-1, grouped.shape[2])  # [O, I/G]
    per_group = known.shape[0] // relation.groups
    return known & np.repeat(live, per_group, axis=0)


def _mixing(node: fx.Node, relation: Mixing, forms: Forms) -> Known | None:
    matrix = effective(relation, forms)
    if matrix is None:
        return None
    silent: NDArray[np.bool_] = ~np.asarray(matrix.any(axis=1))
    if not silent.any():
        return None
    values = np.zeros(len(silent))
    if relation.bias is not None:
        bias = forms.facts.constant(relation.bias)
        if bias is None:
            return None
        values = bias.detach().double().numpy()
    return relation.out_axis, silent, values


def _regroup(relation: Regroup, forms: Forms) -> Known | None:
    known = known_of(relation.x, forms)
    if known is None:
        return None
    axis, mask, values = known
    shape = forms.facts.shape(relation.x)
    for before, after in relation.groups:
        if axis not in before or len(after) != 1:
            continue
        if any(forms.facts.dynamic(relation.x)[a] for a in before):
            return None
        outer = int(np.prod([shape[a] for a in before if a < axis], dtype=np.int64))
        inner = int(np.prod([shape[a] for a in before if a > axis], dtype=np.int64))
        return (after[0], np.tile(np.repeat(mask, inner), outer),
                np.tile(np.repeat(values, inner), outer))  # fmt: skip
    return None


def _blocks(relation: Blocks, forms: Forms) -> Known | None:
    known = known_of(relation.x, forms)
    if known is None or known[0] != relation.axis:
        return None
    mask = known[1].reshape(-1, relation.in_block)
    values = known[2].reshape(-1, relation.in_block)
    same = mask.all(axis=1) & (values == values[:, :1]).all(axis=1)
    if relation.survives == "zero":
        same &= values[:, 0] == 0
    return (relation.axis, np.repeat(same, relation.out_block),
            np.repeat(values[:, 0], relation.out_block))  # fmt: skip
