"""MergeDuplicates and RemoveDeadNodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from igc.analysis.numbering import freeze
from igc.passes.record import Record
from igc.program import Program
from igc.program.digest import raw_bytes
from igc.program.nodes import copy_node


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
        graph = fx.Graph()
        env: dict[fx.Node, fx.Node] = {}
        seen: dict[Any, fx.Node] = {}
        merged = False
        for node in program.graph.nodes:
            key = _key(node, env, program)
            if key is not None and key in seen:
                env[node] = seen[key]
                merged = True
                continue
            env[node] = copy_node(graph, node, env.__getitem__)
            if key is not None:
                seen[key] = env[node]
        return program.with_graph(graph, program.constants) if merged else program


def _key(node: fx.Node, env: dict[fx.Node, fx.Node], program: Program) -> Any:
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
        reached: set[fx.Node] = set()
        stack = list(program.output_nodes)
        while stack:
            node = stack.pop()
            if node not in reached:
                reached.add(node)
                stack.extend(node.all_input_nodes)
        if all(n in reached or n.op in ("placeholder", "output") for n in program.graph.nodes):
            return program
        graph = fx.Graph()
        env: dict[fx.Node, fx.Node] = {}
        for node in program.graph.nodes:
            if node in reached or node.op in ("placeholder", "output"):
                env[node] = copy_node(graph, node, env.__getitem__)
        return program.with_graph(graph, program.constants)
