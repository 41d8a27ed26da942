"""Which layer an op belongs to, where no module of its own called it.

The network's outermost forward, and code that igc writes, call functions that no layer owns: an
activation, a join, the mix that was merged into it. Each belongs to the layer whose tensors it
reads, else to the one whose result it works on.
"""

from __future__ import annotations

from torch import fx

from igc.program import Program

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


def remember(program: Program) -> None:
    """Notes the layer of each op on its node, so that what passes make of it still knows.

    In `meta["near"]`: `meta["layer"]` is what names an op in messages and in emitted code.
    """
    for node, layer in layers(program).items():
        if layer and node.op == "call_function":
            node.meta.setdefault(NEAR, layer)
