"""Sizes that do not change become numbers, those of an input are read off that input.

So a size read off a feature never keeps the feature alive, nor changes when it is sliced.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.program import Program
from igc.program.nodes import call_like
from igc.program.rebuild import Env, rebuild
from igc.program.shapes import other_sizes, shapes

aten = torch.ops.aten
Pair = tuple[int, int | None]  # a size in the example, and at other sizes of the inputs


def settle_sizes(program: Program) -> Program:
    """The program in which every size is a number or read off an input, where it is either."""
    at, other = shapes(program), shapes(program, other_sizes(program))
    read: dict[Pair, tuple[fx.Node, int]] = {}
    for node in program.placeholders:
        for axis, pair in enumerate(zip(at[node].dims, other[node].dims, strict=True)):
            if pair[0] != pair[1]:
                read.setdefault(pair, (node, axis))
    made: dict[Pair, fx.Node] = {}

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> Any:
        size = at[node].size if node.op == "call_function" else None
        if size is None:
            return None
        pair = (size, other[node].size)
        if pair[0] == pair[1]:
            return size
        if pair not in read:
            return None
        if pair not in made:
            source, axis = read[pair]
            made[pair] = call_like(graph, node, aten.sym_size.int, env[source], axis)
        return made[pair]

    return rebuild(program, make)
