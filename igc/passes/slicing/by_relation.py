"""How a node is cut, by its relation: the node over sliced operands, holding its kept channels."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx

from igc.analysis.reads import (
    Masks,
    blocks_of,
    followed,
    mixed_input,
    mixed_weight,
    pieces_of,
    regrouped,
    taken,
)
from igc.ops.relations import Blocks, Concat, Mixing, Pointwise, Regroup, Take
from igc.passes.slicing.by_form import fill
from igc.passes.slicing.state import Slicer
from igc.program.nodes import call_of, mapped

aten = torch.ops.aten


def _pointwise(slicer: Slicer, node: fx.Node, rel: Pointwise, kept: Masks) -> fx.Node:
    new = [
        slicer.value(f.node, followed(f, kept, slicer.facts.shape(f.node))) for f in rel.operands
    ]
    operands = {f.node: n for f, n in zip(rel.operands, new, strict=True)}
    if node.target is operator.getitem:
        return _output(slicer, node, operands)
    if len(operands) < len(new):
        return _repeated(slicer, node, new)
    changes = {} if rel.sizes is None else slicer.sizes(node, rel.sizes, kept)
    return slicer.copy(node, operands, changes)


def _output(slicer: Slicer, node: fx.Node, operands: dict[fx.Node, fx.Node]) -> fx.Node:
    """One output of several: the call over sliced operands, once for all that read it so."""
    call = call_of(node)
    key = (call, " ".join(n.name for n in operands.values()).encode())
    if key not in slicer.made:
        slicer.made[key] = slicer.copy(call, operands)
    return slicer.build.graph.create_node(
        "call_function", node.target, (slicer.made[key], node.args[1]), name=node.name
    )


def _repeated(slicer: Slicer, node: fx.Node, operands: list[fx.Node]) -> fx.Node:
    """A node that reads one value several times, perhaps cut in different ways."""
    new = iter(operands)

    def look(n: fx.Node) -> Any:
        return next(new) if slicer.facts.is_tensor(n) else slicer.env[n]

    args = mapped(node.args, look)
    kwargs = mapped(node.kwargs, look)
    result = slicer.build.graph.create_node(
        "call_function", node.target, args, kwargs, name=node.name
    )
    result.meta = dict(node.meta)
    return result


def _mixing(slicer: Slicer, node: fx.Node, rel: Mixing, kept: Masks) -> fx.Node:
    plan = slicer.live.groups.get(node)
    if plan is not None:
        return _grouped(slicer, node, rel, kept)
    if rel.groups > 1:
        columns = np.ones(slicer.facts.shape(rel.x.node)[rel.x_axis], dtype=bool)
    else:
        # The first of them: x may be the weight too.
        columns = next(m for n, m in _reads(slicer, node) if n is rel.x.node)[rel.x_axis]
    x = slicer.value(rel.x.node, mixed_input(rel, kept, columns, slicer.facts))
    weight = slicer.value(rel.weight.node, mixed_weight(rel, kept, columns, slicer.facts))
    operands = {rel.weight.node: weight, rel.x.node: x}
    if rel.bias is not None:
        operands[rel.bias] = slicer.value(rel.bias, (kept[rel.out_axis],))
    if rel.x.node is rel.weight.node:
        bias = [] if rel.bias is None else [operands[rel.bias]]
        first = node.target is aten.addmm.default
        return _repeated(slicer, node, [*bias, x, weight] if first else [x, weight, *bias])
    return slicer.copy(node, operands)


def _reads(slicer: Slicer, node: fx.Node) -> list[tuple[fx.Node, Masks]]:
    return [
        (operand, masks)
        for operand in node.all_input_nodes
        for user, masks in slicer.live.readers.get(operand, ())
        if user is node
    ]


def _grouped(slicer: Slicer, node: fx.Node, rel: Mixing, kept: Masks) -> fx.Node:
    plan = slicer.live.groups[node]
    x = slicer.value(rel.x.node, mixed_input(rel, kept, plan.columns_mask, slicer.facts))
    weight = slicer.program.constants[str(rel.weight.node.target)]
    width = weight.shape[0] // rel.groups if not rel.transposed else weight.shape[1]
    per_in = slicer.facts.shape(rel.x.node)[rel.x_axis] // rel.groups
    blocks, picks = [], []
    for rows, columns in zip(plan.rows, plan.columns, strict=True):
        r = torch.from_numpy(rows % width if rel.transposed else rows)
        c = torch.from_numpy(columns if rel.transposed else columns % per_in)
        first, second = (c, r) if rel.transposed else (r, c)
        picks.append((first, second))
        blocks.append(weight.index_select(0, first).index_select(1, second))
    cut = torch.cat(blocks)
    name = str(rel.weight.node.target)
    if cut.shape != weight.shape:
        name = slicer.pool.like(name, cut, slicer.pool.group_origin(name, plan, picks))
    operands = {rel.x.node: x, rel.weight.node: slicer.build.attr(name, rel.weight.node.meta)}
    if rel.bias is not None:
        operands[rel.bias] = slicer.value(rel.bias, (plan.rows_mask,))
    assert rel.groups_at is not None
    return slicer.copy(node, operands, {rel.groups_at: len(plan.rows)})


def _concat(slicer: Slicer, node: fx.Node, rel: Concat, kept: Masks) -> fx.Node:
    parts = [slicer.value(n, m) for n, m in pieces_of(rel, kept, slicer.facts)
             if all(x.any() for x in m)]  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    return slicer.build.call(node.meta, aten.cat.default, parts, rel.axis)


def _regroup(slicer: Slicer, node: fx.Node, rel: Regroup, kept: Masks) -> fx.Node:
    x = slicer.value(rel.x, regrouped(rel, node, kept, slicer.facts))
    return slicer.copy(node, {rel.x: x}, slicer.sizes(node, rel.sizes, kept))


def _take(slicer: Slicer, node: fx.Node, rel: Take, kept: Masks) -> fx.Node:
    masks = taken(rel, kept, slicer.facts.shape(rel.x))
    mask = masks[rel.axis]
    if rel.drops:
        x = slicer.value(rel.x, masks)
        return slicer.build.call(node.meta, aten.select.int, x, rel.axis, 0)
    wanted = rel.index[kept[rel.axis]]
    if bool((rel.index < 0).any()):
        if kept[rel.axis].all() and mask.all():
            return slicer.copy(node, {rel.x: slicer.value(rel.x, masks)})
        return _padded(slicer, node, rel, kept, masks)
    position = np.cumsum(mask) - 1
    kept_of_x = slicer.live.kept.get(rel.x)
    if kept_of_x is not None and rel.x in slicer.env and rel.x.op != "get_attr":
        wide = (*masks[: rel.axis], kept_of_x[rel.axis], *masks[rel.axis + 1 :])
        form = slicer.live.forms.form.get(rel.x)
        if form is None or form.gains:
            x = slicer.cut(rel.x, wide)
            position = np.cumsum(wide[rel.axis]) - 1
            return slicer.build.take(
                node.meta, x, rel.axis, position[wanted], int(wide[rel.axis].sum())
            )
    x = slicer.value(rel.x, masks)
    return slicer.build.take(node.meta, x, rel.axis, position[wanted], int(mask.sum()))


def _padded(slicer: Slicer, node: fx.Node, rel: Take, kept: Masks, masks: Masks) -> fx.Node:
    """Some channels of a channel-wise padding: those of x, and the constant."""
    wanted = rel.index[kept[rel.axis]]
    parts: list[tuple[fx.Node, int]] = []
    if mask_any := bool((wanted >= 0).any()):
        parts.append((slicer.value(rel.x, masks), int(masks[rel.axis].sum())))
    if bool((wanted < 0).any()):
        parts.append((fill(slicer, node, rel.axis, kept, np.array([rel.fill])), 1))
    position = np.cumsum(masks[rel.axis]) - 1
    at = np.where(wanted < 0, 0, position[np.maximum(wanted, 0)])
    return slicer.build.gather(
        node.meta, rel.axis, parts, np.where((wanted < 0) & mask_any, 1, 0), at
    )


def _blocks(slicer: Slicer, node: fx.Node, rel: Blocks, kept: Masks) -> fx.Node:
    x = slicer.value(rel.x, blocks_of(rel, kept, slicer.facts.shape(rel.x)))
    operands = {rel.x: x}
    for param in rel.params:
        operands[param] = slicer.value(param, (kept[rel.axis],))
    changes = {}
    if rel.count_at is not None:
        changes[rel.count_at] = int(kept[rel.axis].sum()) // rel.out_block
    return slicer.copy(node, operands, changes)


#: By kind of relation; a node of any other kind is kept whole.
CUTS: dict[type, Callable[[Slicer, fx.Node, Any, Masks], fx.Node]] = {
    Pointwise: _pointwise,
    Mixing: _mixing,
    Concat: _concat,
    Take: _take,
    Regroup: _regroup,
    Blocks: _blocks,
}
