"""MoveGathersFirst: a gather along the last axis, as transpose, gather rows, transpose.

Along the last axis a gather copies one number at a time; along the first it copies whole rows. In
transformers, where features lie last, the transposed form runs faster although it moves everything
twice. Convolutional features are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from igc.ops.facts import operand
from igc.passes.builder import Builder
from igc.passes.record import Record
from igc.program import Program
from igc.program.rebuild import Env
from igc.program.schema import argument
from igc.program.shapes import shapes

aten = torch.ops.aten


@dataclass(frozen=True)
class MoveGathersFirst:
    """Gathers along the last of three or more axes gather along the first instead."""

    name: str = "move gathers first"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program with such gathers moved; the same object where there were none."""
        facts = shapes(program)
        last = {
            node: len(facts[node].dims)
            for node in program.graph.nodes
            if node.target is aten.index_select.default
            and len(facts[node].dims) >= 3
            and argument(node, "dim") % len(facts[node].dims) == len(facts[node].dims) - 1
        }
        return _move(program, last) if last else program


def _move(program: Program, last: dict[fx.Node, int]) -> Program:
    build = Builder(program)

    def make(node: fx.Node, env: Env) -> fx.Node | None:
        if node not in last:
            return None
        x, index = operand(node, "self"), operand(node, "index")
        rank = last[node]
        rows = build.call(node.meta, aten.permute.default, env[x], [rank - 1, *range(rank - 1)])
        taken = build.call(node.meta, aten.index_select.default, rows, 0, env[index])
        for moved in (rows, taken):  # only the last holds what the gather held
            moved.meta = {k: v for k, v in moved.meta.items() if k not in ("source", "kept")}
        return build.call(node.meta, aten.permute.default, taken, [*range(1, rank), 0])

    return build.rebuild(make)
