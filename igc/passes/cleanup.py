"""MergeDuplicates and RemoveDeadNodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from igc.analysis.numbering import freeze
from igc.passes.record import Record
from igc.program import Origin, Program
from igc.program.digest import raw_bytes
from igc.program.nodes import copy_node
from igc.program.rebuild import Env, rebuild
from igc.program.recipe import same


@dataclass(frozen=True)
class MergeDuplicates:
    """Nodes that compute the same thing from the same operands become one.

    Weights count as the same only where they are the same tensor of the checkpoint; small computed
    constants (indices, coefficients) where they are equal. The weights of two branches that happen
    to be equal stay apart, so that each can be fine-tuned.
    """

    name: str = "merge duplicates"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program without repeats; the same object where there were none."""
        seen: dict[Any, fx.Node] = {}
        merged = False
        origins = dict(program.origins)

        def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node:
            nonlocal merged
            key = _key(node, env, program)
            if key in seen:
                merged = True
                if key[0] == "content":
                    name = str(seen[key].target)
                    origins[name] = _both(origins[name], program.origins[str(node.target)])
                return seen[key]
            new = copy_node(graph, node, env.__getitem__)
            if key is not None:
                seen[key] = new
            return new

        result = rebuild(program, make)
        return (
            replace(result, origins={n: origins[n] for n in result.origins}) if merged else program
        )


def _both(kept: Origin, other: Origin) -> Origin:
    """The origin of a constant that stands for two: it is made of what both are made of."""
    parts = tuple(dict.fromkeys((*kept.parts, *other.parts)))
    return replace(kept, parts=parts, recipe=same(kept.recipe, other.recipe))


def _key(node: fx.Node, env: Env, program: Program) -> Any:
    if node.op == "get_attr":
        name = str(node.target)
        value, origin = program.constants[name], program.origins.get(name)
        if origin is not None and not origin.source and value.numel() <= 1 << 16:
            types = program.kind(name), value.dtype
            return "content", types, tuple(value.shape), bytes(raw_bytes(value))
        return "constant", name
    if node.op != "call_function":
        return None
    if isinstance(node.target, torch._ops.OpOverload) and (
        torch.Tag.nondeterministic_seeded in node.target.tags
    ):
        return None
    return (
        node.target,
        freeze(fx.map_arg(node.args, env.__getitem__)),
        freeze(fx.map_arg(dict(node.kwargs), env.__getitem__)),
    )


@dataclass(frozen=True)
class RemoveDeadNodes:
    """Nodes and constants that no output reads are dropped; inputs stay."""

    name: str = "remove dead nodes"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program without dead nodes; the same object where there were none."""
        result = rebuild(program, lambda graph, node, env: None)
        return program if len(result.graph.nodes) == len(program.graph.nodes) else result
