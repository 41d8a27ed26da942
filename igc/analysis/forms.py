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

import numpy as np
from torch import fx

from igc.analysis.form import Form, Forms, Piece
from igc.analysis.known import known_channels
from igc.analysis.numbering import Numbering
from igc.analysis.selection import selects
from igc.analysis.zeros import of_zeros, zero_channels
from igc.ops import Facts
from igc.ops.relations import Concat, Mixing, Relation, Select, Take

ROUNDING = 8 * float(np.finfo(np.float64).eps)
MAX_TERMS = 96  # a form longer than this is cheaper to compute as written


def forms(facts: Facts, relations: dict[fx.Node, Relation]) -> Forms:
    """The forms of all values of the program."""
    result = Forms(facts, relations)
    linear = {n for n, r in relations.items() if _is_linear(n, r, result)}
    outputs, numbering = set(facts.program.output_nodes), Numbering()
    result.virtual = {
        n for n in linear if n not in outputs and n.users and all(u in linear for u in n.users)
    }
    for node, relation in relations.items():
        dtype = facts.at[node].dtype
        if dtype is None or not dtype.is_floating_point or node.op == "get_attr":
            continue
        form = _form(node, relation, result) if node in linear else None
        zeros = zero_channels(node, relation, result)
        if zeros:
            result.zeros[node] = zeros
        if form is None:
            form = known_channels(node, relation, result) or of_zeros(node, relation, zeros)
        if form is not None:
            result.form[node] = form
        if node.op == "call_function" and (form is None or not form.gains):
            repeated = numbering.repeats(node, relation, result)
            if repeated is not None:
                result.form[node] = repeated
    return result


def _is_linear(node: fx.Node, relation: Relation, known: Forms) -> bool:
    if isinstance(relation, Take):
        return not relation.drops
    return isinstance(relation, (Select, Concat)) or selects(node, relation, known) is not None


def _form(node: fx.Node, relation: Relation, known: Forms) -> Form | None:
    shape = known.facts.shape(node)
    if isinstance(relation, Select):
        return _select(node, relation, known, shape)
    if isinstance(relation, Concat):
        return _concat(node, relation, known, shape)
    if isinstance(relation, Mixing):
        return _product(node, relation, known, shape)
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


def _product(node: fx.Node, relation: Mixing, known: Forms, shape: tuple[int, ...]) -> Form | None:
    """A product with a matrix that only selects: every channel is one of the input's, or none."""
    index = selects(node, relation, known)
    assert index is not None
    width = known.facts.shape(relation.x.node)[relation.x_axis]
    form = known.read(relation.x.node, relation.x_axis, width).taken(index, 0.0)
    bias = np.zeros(len(index))
    if relation.bias is not None:
        value = known.facts.constant(relation.bias)
        assert value is not None
        bias = value.detach().double().numpy()
    written = np.full(len(index), width, dtype=np.int64)
    return _finish(Form(form.axis, form.pieces, form.shift + bias, written), known, moves=True)


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
