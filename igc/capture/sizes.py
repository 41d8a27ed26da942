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
from igc.program.shapes import at_points

aten = torch.ops.aten
Seen = tuple[int | None, ...]  # a size at several settings of those of the inputs


def settle_sizes(program: Program) -> Program:
    """The program in which every size is a number or read off an input, where it is either."""
    points = [facts for _, facts in at_points(program)]
    read: dict[Seen, tuple[fx.Node, int]] = {}
    for node in program.placeholders:
        for axis, seen in enumerate(zip(*(at[node].dims for at in points), strict=True)):
            if len(set(seen)) > 1:
                read.setdefault(seen, (node, axis))
    made: dict[Seen, fx.Node] = {}

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> Any:
        size = points[0][node].size if node.op == "call_function" else None
        if size is None:
            return None
        seen = tuple(at[node].size for at in points)
        if len(set(seen)) == 1:
            return size
        if seen not in read:
            return None
        if seen not in made:
            source, axis = read[seen]
            made[seen] = call_like(graph, node, aten.sym_size.int, env[source], axis)
        return made[seen]

    return rebuild(program, make)
