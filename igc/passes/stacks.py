"""SpellOutStacks: a weighted sum over stacked features, as the sum it is.

    (stack([a, b, c]) * w).sum(0)   becomes   a * w[0] + b * w[1] + c * w[2]

A stack puts features along a new axis, where a per-channel coefficient varies along two axes at
once. Written out, a mix or a one-hot gate in this idiom is a plain sum with constant coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import fx

from igc.passes.builder import Builder
from igc.passes.record import Record
from igc.program import Program
from igc.program.rebuild import Env
from igc.program.schema import argument
from igc.program.shapes import Value, shapes

aten = torch.ops.aten


@dataclass(frozen=True)
class _Stacked:
    """A sum over a stack: the features stacked, and the constant they are multiplied by."""

    parts: list[fx.Node]
    weight: str | None


@dataclass(frozen=True)
class SpellOutStacks:
    """Sums over a stacked axis become sums of the stacked features."""

    name: str = "spell out stacks"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program without such stacks; the same object where there were none."""
        facts = shapes(program)
        found = {
            node: stacked
            for node in program.graph.nodes
            if node.target is aten.sum.dim_IntList
            and (stacked := _stacked(node, program, facts)) is not None
        }
        return _spell(program, found, facts) if found else program


def _stacked(node: fx.Node, program: Program, facts: dict[fx.Node, Value]) -> _Stacked | None:
    axes, keep = argument(node, "dim"), argument(node, "keepdim")
    x = cast("fx.Node", node.args[0])
    if not isinstance(axes, (list, tuple)) or len(axes) != 1 or keep or node.kwargs.get("dtype"):
        return None
    rank = len(facts[x].dims)
    axis = int(axes[0]) % rank
    weight = None
    if x.target is aten.mul.Tensor:
        a, b = x.args
        if isinstance(a, fx.Node) and a.op == "get_attr":
            a, b = b, a
        if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or b.op != "get_attr":
            return None
        shape = facts[b].dims
        if facts[a].shape != facts[x].shape or facts[b].dtype != facts[x].dtype:
            return None
        if len(shape) != rank or shape[axis] == 1:
            return None
        x, weight = a, str(b.target)
    if x.target is not aten.cat.default or int(argument(x, "dim")) % rank != axis:
        return None
    parts = []
    for part in cast("list[fx.Node]", x.args[0]):
        if (
            part.target is not aten.unsqueeze.default
            or int(cast("int", part.args[1])) % rank != axis
        ):
            return None
        parts.append(cast("fx.Node", part.args[0]))
    return _Stacked(parts, weight)


def _spell(
    program: Program, found: dict[fx.Node, _Stacked], facts: dict[fx.Node, Value]
) -> Program:
    build = Builder(program)

    def make(node: fx.Node, env: Env) -> fx.Node | None:
        if node not in found:
            return None
        axis = int(cast("list[int]", argument(node, "dim"))[0])
        axis %= len(facts[cast("fx.Node", node.args[0])].dims)
        return _sum(node, found[node], axis, env, build)

    return build.rebuild(make)


def _sum(
    node: fx.Node, stacked: _Stacked, axis: int, env: dict[fx.Node, Any], build: Builder
) -> fx.Node:
    total: fx.Node | None = None
    for i, part in enumerate(stacked.parts):
        term = env[part]
        if stacked.weight is not None:
            weight = build.pool.values[stacked.weight].select(axis, i).contiguous()
            name = build.pool.like(
                stacked.weight, weight, build.pool.selected(stacked.weight, axis, i)
            )
            term = build.call(node.meta, aten.mul.Tensor, term, build.attr(name, node.meta))
        total = term if total is None else build.call(node.meta, aten.add.Tensor, total, term)
    assert total is not None
    if total is not env[stacked.parts[0]]:
        total._rename(node.name)  # it is the sum, and is known by the sum's name
    return total
