"""Running a reference in float64 without changing what it decided in its own precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from igc.analysis.shapes import Value, shapes
from igc.graph import Program, copy_node, is_float

aten = torch.ops.aten
STEPS = frozenset({
    aten.round.default, aten.floor.default, aten.ceil.default, aten.trunc.default,
    aten.sign.default, aten.heaviside.default, aten.sgn.default, aten.fix.default,
})  # fmt: skip


def decided(program: Program) -> Program:
    """The same program with every decision that depends on constants alone already taken.

    A gate is a step function of a parameter. sigmoid(1e-8) > 0.5 is false in float32 and true in
    float64, so a float64 run of the plain program would open a gate that the network has closed.
    Comparisons, roundings and indices computed from constants are therefore evaluated in the
    program's own precision and become constants.
    """
    steps, ancestors = _constant_steps(program)
    if not steps:
        return program
    values = _evaluate(program, ancestors)
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    constants = dict(program.constants)
    for node in program.graph.nodes:
        if node in steps:
            name = f"decided.{node.name}"
            constants[name] = values[node]
            env[node] = graph.create_node("get_attr", name, name=node.name)
            env[node].meta = dict(node.meta)
        else:
            env[node] = copy_node(graph, node, env.__getitem__)
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    return replace(program.with_graph(graph, constants), note=dict(program.note))


def _constant_steps(program: Program) -> tuple[set[fx.Node], set[fx.Node]]:
    """The last step nodes that depend on constants alone, and every node they need."""
    constant: set[fx.Node] = set()
    steps: set[fx.Node] = set()
    facts = shapes(program)
    for node in program.graph.nodes:
        if node.op == "get_attr":
            constant.add(node)
        elif (
            node.op == "call_function"
            and node.all_input_nodes
            and all(n in constant for n in node.all_input_nodes)
        ):
            constant.add(node)
            if _is_step(node, facts):
                steps.add(node)
    ancestors: set[fx.Node] = set()
    stack = list(steps)
    while stack:
        node = stack.pop()
        if node not in ancestors:
            ancestors.add(node)
            stack.extend(node.all_input_nodes)
    return steps, ancestors


def _is_step(node: fx.Node, facts: dict[fx.Node, Value]) -> bool:
    if node.target in STEPS:
        return True
    kind = facts[node].dtype
    if kind is None or is_float(kind):
        return False
    return any(is_float(facts[n].dtype) for n in node.all_input_nodes)


def _evaluate(program: Program, wanted: set[fx.Node]) -> dict[fx.Node, Tensor]:
    values: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node not in wanted:
            continue
        if node.op == "get_attr":
            values[node] = program.constants[str(node.target)]
        else:
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    return values
