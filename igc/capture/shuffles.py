"""Channel shuffles: reshape, transpose, reshape, told as the one op that they are."""

from __future__ import annotations

import torch
from torch import fx

from igc.program import Program
from igc.program.nodes import args_of, call_like
from igc.program.rebuild import Env, rebuild
from igc.program.shapes import Value, shapes

aten = torch.ops.aten


def with_shuffles(program: Program) -> Program:
    """The program with `channel_shuffle` where it has the three calls that make one."""
    chains = {n: chain for n in program.graph.nodes if len(chain := _chain(n)) == 3}
    if not chains:
        return program
    facts = shapes(program)

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        groups = _groups(node, chains[node], facts) if node in chains else None
        if groups is None:
            return None
        x = chains[node][-1]
        return call_like(graph, node, aten.channel_shuffle.default, env[x], groups)

    return rebuild(program, make)


def _chain(node: fx.Node) -> list[fx.Node]:
    """What is read, from the last to the first, by a reshape of a permutation of a reshape."""
    read: list[fx.Node] = []
    for target in (aten.reshape.default, aten.permute.default, aten.reshape.default):
        if node.target is not target:
            break
        node = args_of(node)[0]
        read.append(node)
    return read


def _groups(node: fx.Node, chain: list[fx.Node], facts: dict[fx.Node, Value]) -> int | None:
    """The groups of the channel shuffle that ends at this node; None where it is another one."""
    swap, split, x = chain
    before, parts, after = facts[x].dims, facts[split].dims, facts[node].dims
    order = [int(a) % len(parts) for a in args_of(swap)[1]]
    whole = (
        before == after
        and len(before) >= 3
        and len(parts) == len(before) + 1
        and parts == (before[0], parts[1], parts[2], *before[2:])
        and order == [0, 2, 1, *range(3, len(parts))]
    )
    return parts[1] if whole else None
