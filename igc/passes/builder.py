"""A program under construction: its graph, its constants, and what passes write into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from igc.passes.constants import ConstantPool
from igc.program import Origin, Program
from igc.program.nodes import copy_node
from igc.program.rebuild import Env, drop_unread
from igc.program.recipe import Recipe

aten = torch.ops.aten
Numbers = NDArray[np.int64]


class Builder:
    """Adds nodes to a graph under construction and gives them the layer of what they replace."""

    def __init__(self, program: Program) -> None:
        """An empty graph over the constants of `program`, which the new program comes from."""
        self.program = program
        self.graph = fx.Graph()
        self.pool = ConstantPool(program)
        self._attr: dict[str, fx.Node] = {}

    def rebuild(
        self, make: Callable[[fx.Node, Env], Any], order: Iterable[fx.Node] | None = None
    ) -> Program:
        """The new program: in place of each node what `make(node, env)` returns, None for a copy.

        As `igc.program.rebuild.rebuild`, with constants added to the pool on the way.
        """
        env: Env = {}
        for node in self.program.graph.nodes if order is None else order:
            made = make(node, env)
            if made is None and node.op == "get_attr":
                made = self.attr(str(node.target), node.meta)
            elif made is None:
                made = copy_node(self.graph, node, env.__getitem__)
            env[node] = made
        return self.finished()

    def finished(self) -> Program:
        """The new program around the graph as it is, without what nothing reads."""
        drop_unread(self.graph)
        pool = self.pool
        return self.program.with_graph(self.graph, pool.values, pool.origins, pool.kinds)

    def call(
        self, meta: dict[str, Any], target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> fx.Node:
        """A call that carries `meta`."""
        node = self.graph.call_function(target, args, kwargs)
        node.meta = dict(meta)
        return node

    def attr(self, name: str, meta: dict[str, Any] | None = None) -> fx.Node:
        """The node of a constant, one per constant, at the place of its first use."""
        if name not in self._attr:
            safe = "c_" + "".join(ch if ch.isalnum() and ch.isascii() else "_" for ch in name)
            node = self.graph.create_node("get_attr", name, name=safe)
            node.meta = dict(meta or {})
            self._attr[name] = node
        return self._attr[name]

    def constant(
        self, meta: dict[str, Any], name: str, value: torch.Tensor,
        recipe: Recipe | None = None, kind: torch.dtype | None = None,
    ) -> fx.Node:  # fmt: skip
        """A new constant, which counts as `kind`, and its node."""
        origin = Origin("", (), "computed", recipe=recipe)
        return self.attr(self.pool.add(name, value, origin, kind), meta)

    def take(
        self, meta: dict[str, Any], x: fx.Node, axis: int, index: Numbers, size: int
    ) -> fx.Node:
        """`x` at `index` along `axis` (which has `size` entries): itself, a slice or a gather."""
        if len(index) == size and bool((index == np.arange(size)).all()):
            return x
        steps = np.diff(index)
        if len(index) == 1 or (bool((steps == steps[0]).all()) and steps[0] > 0):
            step = int(steps[0]) if len(index) > 1 else 1
            start, stop = int(index[0]), int(index[-1]) + 1
            return self.call(meta, aten.slice.Tensor, x, axis, start, stop, step)
        numbers = self.constant(meta, "index", torch.from_numpy(index.astype(np.int64)))
        return self.call(meta, aten.index_select.default, x, axis, numbers)

    def gather(
        self, meta: dict[str, Any], axis: int, parts: Sequence[tuple[fx.Node, int]],
        part: Numbers, at: Numbers,
    ) -> fx.Node:  # fmt: skip
        """The tensor whose channel c is channel `at[c]` of `parts[part[c]]` (node, width)."""
        used = [k for k in range(len(parts)) if bool((part == k).any())]
        if len(used) == 1:
            node, size = parts[used[0]]
            return self.take(meta, node, axis, at, size)
        used = _natural(used, part, at, [parts[k][1] for k in range(len(parts))])
        starts = dict(zip(used, np.cumsum([0, *(parts[k][1] for k in used)]), strict=False))
        joined = self.call(meta, aten.cat.default, [parts[k][0] for k in used], axis)
        offset = np.array([starts.get(k, 0) for k in range(len(parts))], dtype=np.int64)
        total = sum(parts[k][1] for k in used)
        return self.take(meta, joined, axis, offset[part] + at, total)


def _natural(used: list[int], part: Numbers, at: Numbers, widths: list[int]) -> list[int]:
    """The order of first use if the result is then a plain concatenation, else the given order."""
    firsts = sorted(used, key=lambda k: int(np.argmax(part == k)))
    expected = [(k, i) for k in firsts for i in range(widths[k])]
    if len(expected) == len(part) and all(
        (int(p), int(a)) == e for p, a, e in zip(part, at, expected, strict=True)
    ):
        return firsts
    return used
