"""Who depends on whom in a traced graph."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from igc.nn.modes import TRAINING


def downstream(sources: Iterable[fx.Node]) -> set[fx.Node]:
    """Returns `sources` and every node that depends on one of them."""
    found = set(sources)
    pending = list(found)
    while pending:
        new = [user for user in pending.pop().users if user not in found]
        found.update(new)
        pending += new
    return found


def upstream(graph: fx.Graph) -> set[fx.Node]:
    """Returns every node that the output depends on, and the output."""
    found = {node for node in graph.nodes if node.op == "output"}
    pending = list(found)
    while pending:
        new = [node for node in pending.pop().all_input_nodes if node not in found]
        found.update(new)
        pending += new
    return found


def from_input(graph: fx.Graph) -> set[fx.Node]:
    """Returns the inputs and every node that depends on one."""
    return downstream(node for node in graph.nodes if node.op == "placeholder")


def per_branch(graph: fx.Graph) -> set[fx.Node]:
    """Returns the nodes that every branch has for itself: modules, tensors, what depends on them.

    All others (the inputs, their sizes, arithmetic on them) are the same in every branch.
    """
    return downstream(
        node
        for node in graph.nodes
        if node.op == "call_module" or (node.op == "get_attr" and node.target != TRAINING)
    )
