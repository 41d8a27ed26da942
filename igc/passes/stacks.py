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
from igc.passes.contracted_stacks import Contracted, contracted, written_out
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
        products = {
            node: told
            for node in program.graph.nodes
            if (told := contracted(node, facts, program, _parts)) is not None
        }
        found = {
            node: stacked
            for node in program.graph.nodes
            if node.target is aten.sum.dim_IntList
            and (stacked := _stacked(node, facts, record)) is not None
        }
        return _spell(program, found, products, facts) if found or products else program


def _stacked(node: fx.Node, facts: dict[fx.Node, Value], record: Record) -> _Stacked | None:
    """The stack that is summed, None where there is none or it cannot be written out."""
    x, axes = cast("fx.Node", node.args[0]), argument(node, "dim")
    rank = len(facts[x].dims)
    factors = list(x.args) if x.target is aten.mul.Tensor else [x, None]
    for stack, weight in (factors, factors[::-1]):
        axis, parts = _parts(stack, rank)
        if not parts or not isinstance(axes, (list, tuple)):
            continue
        if axis not in [int(a) % rank for a in axes]:
            continue
        why = _unfit(node, cast("fx.Node", stack), weight, axis, facts)
        if why:
            record.declined(node, why)
            return None
        return _Stacked(parts, str(weight.target) if isinstance(weight, fx.Node) else None)
    return None


def _parts(x: Any, rank: int) -> tuple[int, list[fx.Node]]:
    """The new axis of a stack and the features along it; no features where `x` is no stack."""
    if not isinstance(x, fx.Node) or x.target is not aten.cat.default:
        return 0, []
    axis = int(argument(x, "dim")) % rank
    parts = cast("list[fx.Node]", x.args[0])
    stacked = all(
        part.target is aten.unsqueeze.default and int(cast("int", part.args[1])) % rank == axis
        for part in parts
    )
    return axis, [cast("fx.Node", part.args[0]) for part in parts] if stacked else []


def _unfit(
    node: fx.Node, stack: fx.Node, weight: Any, axis: int, facts: dict[fx.Node, Value]
) -> str:
    """Why the sum over a stack stays; empty where it need not."""
    x, axes = cast("fx.Node", node.args[0]), cast("list[int]", argument(node, "dim"))
    if len(axes) != 1 or argument(node, "keepdim") or node.kwargs.get("dtype"):
        return "the sum over a stack keeps its axis, takes others too or changes the type"
    if weight is None:
        return ""
    if isinstance(weight, fx.Node) and weight.op != "get_attr":
        return "the weight of the stack is computed from the input"
    if (
        not isinstance(weight, fx.Node)
        or facts[stack].shape != facts[x].shape
        or facts[weight].dtype != facts[x].dtype
        or len(facts[weight].dims) != len(facts[x].dims)
        or facts[weight].dims[axis] == 1
    ):
        return "the weight of the stack holds no number for each feature"
    return ""


def _spell(
    program: Program,
    found: dict[fx.Node, _Stacked],
    products: dict[fx.Node, Contracted],
    facts: dict[fx.Node, Value],
) -> Program:
    build = Builder(program)

    def make(node: fx.Node, env: Env) -> fx.Node | None:
        if node in products:
            return written_out(node, products[node], env, build)
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
