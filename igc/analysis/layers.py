"""Which layer an op belongs to, where no module of its own called it.

The network's outermost forward, and code that igc writes, call functions that no layer owns: an
activation, a join, the mix that was merged into it. Each belongs to the layer whose tensors it
reads, else to the one whose result it works on.
"""

from __future__ import annotations

from torch import fx

from igc.program import Program
from igc.program.nodes import copy_node
from igc.program.rebuild import Env, rebuild

NEAR = "near"


def owner(name: str) -> str:
    """The module that holds a tensor: `layer1.conv` of `layer1.conv.weight~1`, '' of `weight`."""
    return name.partition("~")[0].rpartition(".")[0]


def layers(program: Program) -> dict[fx.Node, str]:
    """The layer of every node, '' where there is none: a network without layers, an input."""
    found: dict[fx.Node, str] = {}
    for node in program.graph.nodes:
        own = str(node.meta.get("layer") or node.meta.get(NEAR) or "")
        if node.op == "get_attr":
            found[node] = own or owner(str(node.target))
            continue
        operands = sorted(node.all_input_nodes, key=lambda n: n.op != "get_attr")  # stable
        found[node] = own or next((found[n] for n in operands if found[n]), "")
    return found


def with_layers(program: Program) -> Program:
    """The program whose ops tell their layer, so that what passes make of them still knows.

    In `meta["near"]`: `meta["layer"]` is what names an op in messages and in emitted code. The same
    object where nothing is to be told.
    """
    near = {n: name for n, name in layers(program).items() if name and n.op == "call_function"}
    if all(NEAR in node.meta for node in near):
        return program

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node:
        new = copy_node(graph, node, env.__getitem__)
        if node in near:
            new.meta.setdefault(NEAR, near[node])
        return new

    return rebuild(program, make)
