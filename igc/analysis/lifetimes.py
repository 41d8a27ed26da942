"""When values die: the memory that an order of execution holds at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx

from igc.program import Program
from igc.program.shapes import Value

aten = torch.ops.aten
VIEWS = (aten.reshape.default, aten.flatten.using_ints)  # copies only where they have to


@dataclass(frozen=True)
class Lifetimes:
    """What each value takes and whose memory it is; true of every order of the same nodes.

    A view is free and keeps its source alive; constants are weights, not counted here.
    `owner[node]` is the node whose memory the value is in, `size[owner]` its bytes.
    """

    owner: dict[fx.Node, fx.Node]
    size: dict[fx.Node, int]

    @classmethod
    def of(cls, program: Program, facts: dict[fx.Node, Value]) -> Lifetimes:
        """The lifetimes of the program's values at the sizes of `facts`."""
        owner: dict[fx.Node, fx.Node] = {}
        size: dict[fx.Node, int] = {}
        for node in program.graph.nodes:
            source = _viewed(node)
            owner[node] = node if source is None else owner[source]
            counts = node.op in ("placeholder", "call_function") and source is None
            size[node] = _bytes(facts[node]) if counts else 0
        return cls(owner, size)

    def reads(self, node: fx.Node) -> set[fx.Node]:
        """The memory that the node needs alive: its operands' and its own."""
        return {self.owner[n] for n in (node, *node.all_input_nodes)}

    def readers(self, nodes: Iterable[fx.Node]) -> dict[fx.Node, int]:
        """For each value in memory, how many of `nodes` need it."""
        found: dict[fx.Node, int] = {}
        for node in nodes:
            for value in self.reads(node):
                found[value] = found.get(value, 0) + 1
        return found

    def peak(self, order: Sequence[fx.Node]) -> int:
        """The largest total of bytes alive at once when the nodes run in this order."""
        left = self.readers(order)
        alive = peak = 0
        for node in order:
            alive += self.size[node]
            peak = max(peak, alive)
            for value in self.reads(node):
                left[value] -= 1
                if not left[value]:
                    alive -= self.size[value]
        return peak


def _viewed(node: fx.Node) -> fx.Node | None:
    """The operand that the node's value is a view of, if any."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    returns: Any = getattr(getattr(node.target, "_schema", None), "returns", ())
    aliased = [r.alias_info for r in returns if r.alias_info is not None]
    if node.target in VIEWS or (aliased and not any(a.is_write for a in aliased)):
        return node.args[0]
    return node.args[0] if getattr(node.target, "__name__", "") == "getitem" else None


def _bytes(value: Value) -> int:
    if value.many:
        return sum(_bytes(v) for v in value.many)
    if value.shape is None or value.dtype is None:
        return 0
    return prod(value.shape) * value.dtype.itemsize
