"""A product of stacked features with a constant that has zeros, as the sums that it is.

    m @ stack([a, b, c])    becomes    stack([a * m[0, 0] + c * m[0, 2], b * m[1, 1], ...])

A product reads every feature whole, or not at all. Written out, a feature that a task does not take
costs that task nothing, and one that it takes on some channels costs those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from igc.passes.builder import Builder
from igc.program import Program
from igc.program.nodes import args_of
from igc.program.rebuild import Env
from igc.program.schema import bind
from igc.program.shapes import Value

aten = torch.ops.aten
PRODUCTS = {aten.matmul.default, aten.mm.default, aten.bmm.default, aten.linear.default}
MOST = 128  # products of a feature and a number that are written out


@dataclass(frozen=True)
class Contracted:
    """A product over stacked features.

    `order` turns the axes of a feature; entry k of the constant's axis `over` goes with feature k,
    and the entries of its axis `along` make the result's axis `axis`.
    """

    parts: list[fx.Node]
    order: tuple[int, ...]
    weight: str
    over: int
    along: int
    axis: int


def contracted(
    node: fx.Node,
    facts: dict[fx.Node, Value],
    program: Program,
    parts_of: Callable[[fx.Node, int], tuple[int, list[fx.Node]]],
) -> Contracted | None:
    """What a product of a stack and a constant is written out as; None where it is none."""
    if node.target not in PRODUCTS or bind(node).get("bias") is not None:
        return None
    a, b = args_of(node)[:2]
    ranks = len(facts[a].dims), len(facts[b].dims)
    if min(ranks) < 2 or facts[a].dtype != facts[node].dtype:
        return None
    rank = len(facts[node].dims)
    if b.op == "get_attr":
        flipped = node.target is aten.linear.default
        over, along = (ranks[1] - 1, ranks[1] - 2) if flipped else (ranks[1] - 2, ranks[1] - 1)
        x, weight, at, axis = a, b, ranks[0] - 1, rank - 1
    elif a.op == "get_attr" and node.target is not aten.linear.default:
        x, weight, at, axis = b, a, ranks[1] - 2, rank - 2
        over, along = ranks[0] - 1, ranks[0] - 2
    else:
        return None
    if len(facts[x].dims) != rank or len(facts[weight].dims) > rank:
        return None
    turned = tuple(range(rank))
    if x.target is aten.permute.default:
        turned = tuple(int(o) % rank for o in args_of(x)[1])
        x = args_of(x)[0]
    stacked, parts = parts_of(x, rank)
    if not parts or turned[at] != stacked:
        return None
    value = program.constants[str(weight.target)]
    if not bool((value == 0).any()) or value.shape[over] * value.shape[along] > MOST:
        return None
    order = tuple(o - (o > stacked) for i, o in enumerate(turned) if i != at)
    return Contracted(parts, order, str(weight.target), over, along, axis)


def written_out(node: fx.Node, told: Contracted, env: Env, build: Builder) -> fx.Node:
    """The stack of sums that stands for the product."""
    pool = build.pool
    plain = told.order == tuple(range(len(told.order)))
    parts = [
        env[p] if plain else build.call(node.meta, aten.permute.default, env[p], list(told.order))
        for p in told.parts
    ]
    shape = pool.values[told.weight].shape
    rows = []
    for n in range(shape[told.along]):
        total: fx.Node | None = None
        picked = pool.values[told.weight].select(told.along, n)
        least = 0  # a task that takes nothing still has zeros
        over = told.over - (told.over > told.along)
        used = [k for k in range(shape[told.over]) if bool((picked.select(over, k) != 0).any())]
        for k in used or [least]:
            index = [np.array([k]) if a == told.over else None for a in range(len(shape))]
            name = pool.sliced(told.weight, index)
            value = pool.values[name].select(told.along, n).contiguous()
            name = pool.like(told.weight, value, pool.selected(name, told.along, n))
            term = build.call(node.meta, aten.mul.Tensor, parts[k], build.attr(name, node.meta))
            total = term if total is None else build.call(node.meta, aten.add.Tensor, total, term)
        rows.append(build.call(node.meta, aten.unsqueeze.default, total, told.axis))
    result = build.call(node.meta, aten.cat.default, rows, told.axis)
    result._rename(node.name)
    return result
