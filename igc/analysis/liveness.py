"""Backward analysis: which channels of every value some output depends on.

Definition 7. A channel is *live* where an output's channel reads it, through forms and relations,
and it is not a known constant. Every other channel is *dead*. A node with no live channel on some
axis is dead.

Definition 8. `kept` is `live` widened to what an op can produce: an axis that cannot be cut is
kept whole, groups of a grouped convolution keep equal widths, a reshaped axis keeps whole rows.

One backward sweep is exact on a graph without cycles: every user is visited before its operands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import fx

from igc.analysis.form import Form, Forms
from igc.analysis.groups import GroupPlan, plan_groups
from igc.analysis.known import effective, live_inputs
from igc.analysis.reads import (
    Mask,
    Masks,
    blocks_of,
    followed,
    full,
    mixed_input,
    mixed_weight,
    pieces_of,
    rectangular,
    regrouped,
    taken,
    whole_axes,
    whole_blocks,
)
from igc.ops.relations import (
    Blocks,
    Concat,
    Mixing,
    Opaque,
    Pointwise,
    Regroup,
    Select,
    Take,
)
from igc.program.nodes import tensor_operands


@dataclass
class Liveness:
    """Kept channels per node and axis; what each user reads of each operand; group plans."""

    forms: Forms
    kept: dict[fx.Node, Masks] = field(default_factory=dict)
    groups: dict[fx.Node, GroupPlan] = field(default_factory=dict)
    readers: dict[fx.Node, list[tuple[fx.Node, Masks]]] = field(default_factory=dict)

    def reads(self, node: fx.Node, operand: fx.Node, masks: Masks) -> None:
        """Record that `node` reads these channels of `operand`."""
        if all(m.any() for m in masks):
            self.readers.setdefault(operand, []).append((node, masks))
            _require(self, operand, masks)


def liveness(forms: Forms) -> Liveness:
    """The live channels of every node of the program."""
    live = Liveness(forms)
    facts, program = forms.facts, forms.facts.program
    output = program.graph.output_node()
    for node in program.output_nodes:
        live.reads(output, node, full(facts.shape(node)))
    for node in reversed(list(program.graph.nodes)):
        if node.op == "output":
            continue
        if node.op == "placeholder":
            live.kept[node] = full(facts.shape(node))
        elif _is_size(node, live):
            _keep_for_size(node, live)
        elif node in live.kept and node.op == "call_function" and facts.is_tensor(node):
            _visit(node, live)
    return live


def _is_size(node: fx.Node, live: Liveness) -> bool:
    return node.op == "call_function" and live.forms.facts.at[node].size is not None


def _keep_for_size(node: fx.Node, live: Liveness) -> None:
    """A size read off a tensor needs the tensor, but only one channel of it."""
    for operand in tensor_operands(node):
        if live.forms.facts.is_tensor(operand) and operand not in live.kept:
            shape = live.forms.facts.shape(operand)
            masks = tuple(
                np.ones(n, dtype=bool) if dyn else np.arange(n) == 0
                for n, dyn in zip(shape, live.forms.facts.dynamic(operand), strict=True)
            )
            live.kept[operand] = masks


def _require_whole(live: Liveness, node: fx.Node, operand: fx.Node) -> None:
    live.reads(node, operand, full(live.forms.facts.shape(operand)))


def _require(live: Liveness, node: fx.Node, masks: Masks) -> None:
    """Mark channels of `node` as needed; constants are not, copies are needed at their source."""
    form = live.forms.form.get(node)
    if form is not None and form.partial:
        assert form.axis is not None
        wanted = masks[form.axis]
        for piece in form.pieces:
            if piece.source is not node:
                used = piece.coefficient != 0
                part = read_by(piece.index, used, form.axis, masks, piece.source, live)
                if part[form.axis].any():
                    _require(live, piece.source, part)
        itself = own_channels(form, node)
        if not (wanted & itself).any():
            if bool((wanted & ~form.constant).any()) or _sizes_known(node, live):
                live.kept.setdefault(node, tuple(np.zeros_like(m) for m in masks))
                return
            itself = np.arange(len(wanted)) == int(np.argmax(wanted))  # read for its size alone
        masks = (*masks[: form.axis], wanted & itself, *masks[form.axis + 1 :])
    dynamic = live.forms.facts.dynamic(node)
    masks = tuple(np.ones_like(m) if d else m for m, d in zip(masks, dynamic, strict=True))
    before = live.kept.get(node)
    live.kept[node] = (
        masks if before is None else tuple(a | b for a, b in zip(before, masks, strict=True))
    )


def own_channels(form: Form, node: fx.Node) -> Mask:
    """The channels that a written node computes itself."""
    mask = np.zeros(len(form.shift), dtype=bool)
    for piece in form.pieces:
        if piece.source is node:
            mask |= piece.coefficient != 0
    return mask


def _sizes_known(node: fx.Node, live: Liveness) -> bool:
    """Whether every dynamic axis of the node has the size of some axis of an input."""
    facts = live.forms.facts
    return all(
        input_axis(size, live) is not None
        for size, dynamic in zip(facts.sizes(node), facts.dynamic(node), strict=True)
        if dynamic
    )


def input_axis(size: tuple[int, ...], live: Liveness) -> tuple[fx.Node, int] | None:
    """An input and its axis that has these sizes at the settings of the dynamic sizes."""
    facts = live.forms.facts
    for node in facts.program.placeholders:
        for axis, here in enumerate(facts.sizes(node)):
            if here == size and facts.dynamic(node)[axis]:
                return node, axis
    return None


def _visit(node: fx.Node, live: Liveness) -> None:
    kept = live.kept[node]
    if not all(m.any() for m in kept):
        return
    facts, relation = live.forms.facts, live.forms.relations[node]
    if live.forms.gains(node):
        _visit_form(node, live.forms.form[node], kept, live)
        return
    if isinstance(relation, Select):
        relation = relation.written
    if isinstance(relation, Pointwise):
        kept = live.kept[node] = whole_axes(kept, relation.fixed)
        for follow in relation.operands:
            live.reads(node, follow.node, followed(follow, kept, facts.shape(follow.node)))
    elif isinstance(relation, Mixing):
        _visit_mixing(node, relation, live)
    elif isinstance(relation, Concat):
        for operand, masks in pieces_of(relation, kept, live.forms.facts):
            live.reads(node, operand, masks)
    elif isinstance(relation, Take):
        live.reads(node, relation.x, taken(relation, kept, facts.shape(relation.x)))
    elif isinstance(relation, Regroup):
        kept = live.kept[node] = rectangular(relation, node, kept, live.forms.facts)
        live.reads(node, relation.x, regrouped(relation, node, kept, live.forms.facts))
    elif isinstance(relation, Blocks):
        _visit_blocks(node, relation, live)
    else:
        assert isinstance(relation, Opaque)
        _visit_opaque(node, live)


def _visit_opaque(node: fx.Node, live: Liveness) -> None:
    facts = live.forms.facts
    live.kept[node] = full(facts.shape(node))
    for operand in tensor_operands(node):
        if facts.is_tensor(operand):
            _require_whole(live, node, operand)
        else:
            _require_tuple(operand, live)


def _visit_blocks(node: fx.Node, relation: Blocks, live: Liveness) -> None:
    kept = live.kept[node] = whole_axes(whole_blocks(relation, live.kept[node]), relation.fixed)
    live.reads(node, relation.x, blocks_of(relation, kept, live.forms.facts.shape(relation.x)))
    for param in relation.params:
        live.reads(node, param, (kept[relation.axis],))


def _require_tuple(node: fx.Node, live: Liveness) -> None:
    """An op with several outputs, one of which is needed, needs all its operands."""
    live.kept[node] = ()
    for operand in tensor_operands(node):
        if live.forms.facts.is_tensor(operand):
            _require_whole(live, node, operand)


def _visit_form(node: fx.Node, form: Form, kept: Masks, live: Liveness) -> None:
    form = lifted(form, node, live)
    assert form.axis is not None
    for piece in form.pieces:
        masks = read_by(piece.index, piece.coefficient != 0, form.axis, kept, piece.source, live)
        live.reads(node, piece.source, masks)
    if bool(form.constant[kept[form.axis]].all()) and not _sizes_known(node, live):
        operand = next(n for n in tensor_operands(node) if n.op != "get_attr")
        shape = live.forms.facts.shape(operand)
        live.reads(node, operand, tuple(np.arange(n) == 0 for n in shape))


def lifted(form: Form, node: fx.Node, live: Liveness) -> Form:
    """The form along a definite axis."""
    if form.axis is not None:
        return form
    dynamic = live.forms.facts.dynamic(node)
    axis = next((a for a, d in enumerate(dynamic) if not d), 0)
    return form.lift(axis, live.forms.facts.shape(node)[axis])


def read_by(
    index: NDArray[np.int64], used: Mask, axis: int, kept: Masks, source: fx.Node, live: Liveness
) -> Masks:
    """The channels of `source` that a form reads for the kept channels of its node."""
    mask = np.zeros(live.forms.facts.shape(source)[axis], dtype=bool)
    mask[index[kept[axis] & used]] = True
    return (*kept[:axis], mask, *kept[axis + 1 :])


def _visit_mixing(node: fx.Node, relation: Mixing, live: Liveness) -> None:
    facts, forms = live.forms.facts, live.forms
    kept = live.kept[node] = whole_axes(live.kept[node], relation.fixed)
    matrix = effective(relation, forms)
    if relation.groups > 1 and relation.weight.node.op != "get_attr":
        matrix = None  # a kernel that is computed cannot be cut group by group
    if relation.groups > 1 and matrix is not None:
        plan = live.groups[node] = plan_groups(matrix, kept[relation.out_axis], relation.groups)
        rows, columns = plan.rows_mask, plan.columns_mask
    elif relation.groups > 1:
        rows = np.ones_like(kept[relation.out_axis])
        columns = np.ones(facts.shape(relation.x.node)[relation.x_axis], dtype=bool)
    else:
        rows = kept[relation.out_axis]
        columns = (
            live_inputs(relation, forms) if matrix is None else np.asarray(matrix[rows].any(axis=0))
        )
    if not columns.any():  # a contraction of nothing does not run
        columns = np.arange(len(columns)) == 0
    kept = (*kept[: relation.out_axis], rows, *kept[relation.out_axis + 1 :])
    live.kept[node] = kept
    live.reads(node, relation.x.node, mixed_input(relation, kept, columns, live.forms.facts))
    live.reads(node, relation.weight.node, mixed_weight(relation, kept, columns, live.forms.facts))
    if relation.bias is not None:
        live.reads(node, relation.bias, (rows,))
