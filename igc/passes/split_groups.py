"""SplitGroups: a grouped convolution whose groups need unequal widths becomes several.

A grouped kernel is a rectangle, so every group is as wide as the widest (`igc.analysis.groups`).
Groups that need the same numbers of rows and columns lose nothing by that: here each set of them
becomes a convolution of its own, and what they give is joined and put in order again. Slicing then
leaves exactly what is needed. The price is more convolutions, and channels that are moved about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from igc.analysis.groups import GroupPlan
from igc.analysis.liveness import Liveness
from igc.ops.relations import Mixing
from igc.passes.builder import Builder
from igc.passes.record import Record
from igc.passes.slicing.slice_channels import analysed
from igc.program import Program
from igc.program.nodes import mapped
from igc.program.rebuild import Env
from igc.program.schema import changed

aten = torch.ops.aten
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class SplitGroups:
    """Groups of equal needs side by side, each set of them as a convolution of its own."""

    name: str = "split groups"

    def __call__(self, program: Program, record: Record) -> Program:
        """The rewritten program; the same object where all groups need the same."""
        live = analysed(program)
        uneven = {node: plan for node, plan in live.groups.items() if plan.extra}
        if not uneven:
            return program
        build = Builder(program)

        def make(node: fx.Node, env: Env) -> fx.Node | None:
            plan = uneven.get(node)
            return None if plan is None else _split(build, env, node, plan, live)

        return build.rebuild(make)


def _split(
    build: Builder, env: dict[fx.Node, Any], node: fx.Node, plan: GroupPlan, live: Liveness
) -> fx.Node:
    relation, facts = cast("Mixing", live.forms.relations[node]), live.forms.facts
    sizes = facts.shape(relation.x.node)[relation.x_axis], facts.shape(node)[relation.out_axis]
    per_in, per_out = (size // relation.groups for size in sizes)
    meta, axis = {**node.meta, "source": node.name}, relation.out_axis
    x = relation.x.node
    parts, order = [], []
    for groups in _alike(plan, relation.groups):
        columns, rows = _channels(groups, per_in), _channels(groups, per_out)
        operands = {
            x: build.take(
                {**node.meta, "source": x.name, "kept": {relation.x_axis: columns.tolist()}},
                env[x],
                relation.x_axis,
                columns,
                sizes[0],
            ),
            relation.weight.node: _lines(
                build, env, relation.weight.node, columns if relation.transposed else rows
            ),
        }
        if relation.bias is not None:
            operands[relation.bias] = _lines(build, env, relation.bias, rows)
        part = _convolution(build, env, node, relation, operands, len(groups))
        part.meta = {**meta, "kept": {axis: rows.tolist()}}
        parts.append(part)
        order.append(rows)
    now = np.concatenate(order)
    joined = build.call({**meta, "kept": {axis: now.tolist()}}, aten.cat.default, parts, axis)
    return build.take(meta, joined, axis, np.argsort(now), sizes[1])


def _alike(plan: GroupPlan, groups: int) -> list[Numbers]:
    """The numbers of the groups that need the same; dead ones go with the first of them."""
    by_needs: dict[tuple[int, ...], list[int]] = {}
    for group, widths in zip(plan.live, plan.widths, strict=True):
        by_needs.setdefault(tuple(widths), []).append(int(group))
    found = list(by_needs.values())
    found[0] = sorted({*found[0], *(set(range(groups)) - {int(g) for g in plan.live})})
    return [np.array(numbers, dtype=np.int64) for numbers in found]


def _channels(groups: Numbers, width: int) -> Numbers:
    """The channels of these groups of `width` channels each, in order."""
    numbers: Numbers = (groups[:, None] * width + np.arange(width)).reshape(-1)
    return numbers


def _lines(build: Builder, env: dict[fx.Node, Any], node: fx.Node, index: Numbers) -> fx.Node:
    """A constant or computed tensor at `index` of its first axis."""
    if node.op == "get_attr":
        name = str(node.target)
        rest = [None] * (build.pool.values[name].ndim - 1)
        return build.attr(build.pool.sliced(name, [index, *rest]), node.meta)
    numbers = build.constant(node.meta, "index", torch.from_numpy(index))
    return build.call(node.meta, aten.index_select.default, env[node], 0, numbers)


def _convolution(
    build: Builder, env: dict[fx.Node, Any], node: fx.Node, relation: Mixing,
    operands: dict[fx.Node, fx.Node], groups: int,
) -> fx.Node:  # fmt: skip
    assert relation.groups_at is not None
    args, kwargs = changed(node, {relation.groups_at: groups})

    def look(n: fx.Node) -> Any:
        return operands[n] if n in operands else env[n]

    args, kwargs = mapped((args, kwargs), look)
    return build.graph.create_node(
        "call_function", node.target, tuple(args), kwargs, name=node.name
    )
