"""OrderForMemory: the order of execution that holds the least activation memory at once.

The passes before it lay a program out breadth first, every branch of a layer before the next layer
of any, so that all branches are alive together. No order is best for every graph (finding it is
NP-hard), so three are tried and the best is taken: the one given, depth first from the outputs,
and greedily what frees most. Never worse than given; nothing is computed more than once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from igc.analysis.lifetimes import Lifetimes
from igc.passes.record import Record
from igc.program import Program
from igc.program.rebuild import rebuild
from igc.program.shapes import shapes, single

Order = list[fx.Node]


@dataclass(frozen=True)
class OrderForMemory:
    """The same nodes in the order with the smallest activation peak of those tried."""

    name: str = "order for memory"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program in its new order; the same object where the given one is as good."""
        lifetimes = Lifetimes.of(program, shapes(program, single(program)))
        given = list(program.graph.nodes)
        tried = [given, *(order(program, lifetimes) for order in ORDERS)]
        best = min(tried, key=lifetimes.peak)  # the first of equals: the one given
        if best is given:
            return program
        return rebuild(program, lambda graph, node, env: None, order=best)


def depth_first(program: Program, lifetimes: Lifetimes) -> Order:
    """Each output's operands right before it, one output after the other."""
    order = {n: None for n in program.graph.nodes if n.op == "placeholder"}
    (output,) = (n for n in program.graph.nodes if n.op == "output")
    stack = [output]
    while stack:
        node = stack[-1]
        waiting = [n for n in node.all_input_nodes if n not in order]
        if node in order or not waiting:
            stack.pop()
            order.setdefault(node)
        else:
            stack.extend(reversed(waiting))
    return list(order)


def greedy(program: Program, lifetimes: Lifetimes) -> Order:
    """Of the nodes that can run, always the one that grows memory least; of equals, the newest."""
    nodes = list(program.graph.nodes)
    left = lifetimes.readers(nodes)
    given = [n for n in nodes if n.op in ("placeholder", "get_attr")]  # from the start
    there = set(given)
    missing = {n: sum(o not in there for o in n.all_input_nodes) for n in nodes}
    ready = {n: 0 for n in nodes if n not in there and not missing[n]}
    found: Order = []

    def growth(node: fx.Node) -> int:
        freed = (v for v in lifetimes.reads(node) if left[v] == 1)
        return lifetimes.size[node] - sum(map(lifetimes.size.__getitem__, freed))

    while ready:
        node = min(ready, key=lambda n: (growth(n), -ready[n]))
        del ready[node]
        found.append(node)
        for value in lifetimes.reads(node):
            left[value] -= 1
        for user in node.users:
            missing[user] -= 1
            if not missing[user]:
                ready[user] = len(found)
    return given + found


ORDERS: tuple[Callable[[Program, Lifetimes], Order], ...] = (depth_first, greedy)
