"""Constants that are repeated over sizes which the input chooses, told once.

    where(expand(mask, [batch, 8]), y, z)   becomes   where(expand(mask, [1, 8]), y, z)
    m = zeros([batch, 8]); m[:, :3] = 1     is the same for every batch: m * y needs it once

Broadcasting repeats them anyway. Without the size such a mask depends on constants alone: it is
folded like any other, and channels are followed through what it selects.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.program import Program
from igc.program.nodes import args_of, copy_node, mapped
from igc.program.rebuild import Env, rebuild
from igc.program.schema import argument, op_name
from igc.program.shapes import Value, at_points

aten = torch.ops.aten
MADE = frozenset({"full", "zeros", "ones"})  # of sizes and a number
ELEMENTWISE = frozenset({
    "mul", "add", "sub", "rsub", "div", "neg", "where", "lerp", "masked_fill", "_to_copy", "clamp",
    "logical_not", "logical_and", "logical_or", "bitwise_not", "bitwise_and", "bitwise_or",
    "gt", "ge", "lt", "le", "eq", "ne", "maximum", "minimum", "abs",
})  # fmt: skip
#: Along axes whose size the input does not choose: the argument that names them.
ALONG = {
    "cat": "dim", "slice": "dim", "index_select": "dim", "slice_scatter": "dim", "flip": "dims",
    "select_scatter": "dim", "index_copy": "dim", "index_fill": "dim", "select": "dim",
}  # fmt: skip
REPEATING = frozenset({"expand", "repeat"})
#: Calls that broadcast what they read.
JOINING = frozenset({
    "mul", "add", "sub", "div", "where", "lerp", "masked_fill", "maximum", "minimum",
})  # fmt: skip


def with_repeats_once(program: Program) -> Program:
    """The program in which element-by-element calls read such constants unrepeated."""
    if not program.sizes:
        return program
    found = _Repeats([facts for _, facts in at_points(program)])
    for node in program.graph.nodes:
        found.visit(node)
    readers = {n: read for n in program.graph.nodes if (read := found.read_by(n))}
    if not readers:
        return program
    once: dict[fx.Node, fx.Node] = {}

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> Any:
        if node not in readers:
            return None

        def look(operand: fx.Node) -> Any:
            repeated = operand in readers[node]
            return found.once(graph, operand, env, once) if repeated else env[operand]

        return copy_node(graph, node, look)

    return rebuild(program, make)


class _Repeats:
    """Which values depend on constants alone, and which on those and sizes that repeat them."""

    def __init__(self, points: list[dict[fx.Node, Value]]) -> None:
        self.points = points
        self.constant: set[fx.Node] = set()
        self.repeated: set[fx.Node] = set()
        self.picking: set[fx.Node] = set()  # those of `repeated` that are written to or expanded

    def visit(self, node: fx.Node) -> None:
        """Looks at the next node."""
        if node.op == "get_attr":
            self.constant.add(node)
        if node.op != "call_function" or not self._is_tensor(node):
            return
        drawn = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if drawn or not isinstance(node.target, torch._ops.OpOverload):
            return
        if self.constant.issuperset(node.all_input_nodes):
            self.constant.add(node)
        elif self._repeats(node):
            self.repeated.add(node)
            # What only fills and computes is left as it is: it selects nothing, and is not trained.
            picks = op_name(node) in ALONG or op_name(node) in REPEATING | {"index_put"}
            if picks or not self.picking.isdisjoint(node.all_input_nodes):
                self.picking.add(node)

    def read_by(self, node: fx.Node) -> set[fx.Node]:
        """The repeated constants that a node reads, and need not read repeated."""
        if node in self.repeated or node in self.constant or op_name(node) not in JOINING:
            return set()
        if not self._is_tensor(node):  # a product of sizes
            return set()
        read = self.picking.intersection(node.all_input_nodes)
        others = [n for n in node.all_input_nodes if n not in read and self._is_tensor(n)]
        rank = len(self._sizes(node))
        whole = all(
            any(self._aligned(n, axis, rank) == size for n in others)
            for axis, size in enumerate(self._sizes(node))
            if len(set(size)) > 1
        )
        return read if whole else set()

    def once(
        self, graph: fx.Graph, node: fx.Node, env: Env, made: dict[fx.Node, fx.Node]
    ) -> fx.Node:
        """A repeated constant with one entry along the axes over which it is repeated."""
        if node not in made:

            def look(operand: fx.Node) -> Any:
                if operand in self.repeated:
                    return self.once(graph, operand, env, made)
                return env[operand] if operand in self.constant else 1  # a size

            new = graph.create_node(
                "call_function", node.target, mapped(node.args, look), mapped(node.kwargs, look)
            )
            new.meta = dict(node.meta)
            made[node] = new
        return made[node]

    def _repeats(self, node: fx.Node) -> bool:
        """Whether the call gives, of operands that are read unrepeated, its result unrepeated."""
        op = op_name(node)
        sizes = {n for n in node.all_input_nodes if not self._is_tensor(n)}
        tensors = set(node.all_input_nodes) - sizes
        if not tensors <= self.constant | self.repeated:
            return False
        if op in MADE or op in REPEATING:
            given = argument(node, "repeats" if op == "repeat" else "size")
            return sizes <= {n for n in given if isinstance(n, fx.Node)} and all(
                self._chosen(node, axis, size) for axis, size in enumerate(given)
            )
        if sizes:
            return False
        if op in ALONG:
            whole = node if op == "cat" else args_of(node)[0]
            axes = argument(node, ALONG[op])
            several = axes if isinstance(axes, (list, tuple)) else [axes]
            return not any(self._dynamic(whole, a) for a in several)
        if op == "index_put":
            places = {a: p for a, p in enumerate(argument(node, "indices")) if p is not None}
            fixed = not any(self._dynamic(args_of(node)[0], a) for a in places)
            return fixed and self.constant.issuperset(places.values())
        return op in ELEMENTWISE or op == "unsqueeze"

    def _chosen(self, node: fx.Node, axis: int, size: Any) -> bool:
        """Whether a size is that of an axis that the input chooses, and the axis is repeated."""
        dynamic, of = self._dynamic(node, axis), node.all_input_nodes
        if not dynamic:
            return not isinstance(size, fx.Node)
        if op_name(node) != "repeat":
            return isinstance(size, fx.Node) or size == -1
        before = self._aligned(of[0], axis, len(self._sizes(node)))
        single = before is None or set(before) == {1} or len(set(before)) > 1
        return single and (isinstance(size, fx.Node) or size == 1)

    def _is_tensor(self, node: fx.Node) -> bool:
        return self.points[0][node].shape is not None

    def _sizes(self, node: fx.Node) -> list[tuple[int, ...]]:
        return list(zip(*(facts[node].dims for facts in self.points), strict=True))

    def _dynamic(self, node: fx.Node, axis: int) -> bool:
        return len(set(self._sizes(node)[axis])) > 1

    def _aligned(self, node: fx.Node, axis: int, rank: int) -> tuple[int, ...] | None:
        sizes, at = self._sizes(node), axis - rank
        return sizes[at] if -at <= len(sizes) else None
