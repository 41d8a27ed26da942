"""`x[:, 1:3] = y` as torch writes it without changing x, told as a concatenation of what it holds.

torch turns an assigned item into `copy` and `slice_scatter`. Written as slices side by side, every
channel is traced to where it comes from, and nothing that was overwritten is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.program.nodes import args_of, call_like, copy_node
from igc.program.schema import argument
from igc.program.shapes import Value

aten = torch.ops.aten
TO_THE_END = 2**63 - 1
Facts = dict[fx.Node, Value]
Env = dict[fx.Node, Any]


def slice_scatter(graph: fx.Graph, node: fx.Node, env: Env, facts: Facts) -> Any:
    """`slice_scatter(x, y, axis, start, end)`: x before start, y, x from end on."""
    x, y = args_of(node)[:2]
    axis, step = int(argument(node, "dim")), argument(node, "step")
    start, end = argument(node, "start"), argument(node, "end")
    start, end = 0 if start is None else start, TO_THE_END if end is None else end
    bounds = isinstance(start, int) and isinstance(end, int) and start >= 0 and end >= start
    if not bounds or step != 1 or facts[x].dtype != facts[y].dtype:
        return copy_node(graph, node, env.__getitem__)
    axis %= len(facts[x].dims)
    parts = [env[y]]
    if start > 0:
        parts.insert(0, call_like(graph, node, aten.slice.Tensor, env[x], axis, 0, start, 1))
    if end < TO_THE_END:  # empty where the axis ends before: at another size it may not
        parts.append(call_like(graph, node, aten.slice.Tensor, env[x], axis, end, TO_THE_END, 1))
    return parts[0] if len(parts) == 1 else call_like(graph, node, aten.cat.default, parts, axis)


def select_scatter(graph: fx.Graph, node: fx.Node, env: Env, facts: Facts) -> Any:
    """`select_scatter(x, y, axis, index)`: as `slice_scatter` of one index."""
    x, y, axis, index = args_of(node)
    if not isinstance(index, int) or index < 0 or facts[x].dtype != facts[y].dtype:
        return copy_node(graph, node, env.__getitem__)
    axis %= len(facts[x].dims)
    parts = [call_like(graph, node, aten.unsqueeze.default, env[y], axis)]
    if index > 0:
        parts.insert(0, call_like(graph, node, aten.slice.Tensor, env[x], axis, 0, index, 1))
    parts.append(call_like(graph, node, aten.slice.Tensor, env[x], axis, index + 1, TO_THE_END, 1))
    return call_like(graph, node, aten.cat.default, parts, axis)


def copy(graph: fx.Graph, node: fx.Node, env: Env, facts: Facts) -> Any:
    """`copy(x, y)`: y, where it has the shape and dtype of x."""
    x, y = args_of(node)[:2]
    same = isinstance(y, fx.Node) and (facts[x].shape, facts[x].dtype) == (
        facts[y].shape,
        facts[y].dtype,
    )
    return env[y] if same else copy_node(graph, node, env.__getitem__)


SCATTERS: dict[Any, Callable[[fx.Graph, fx.Node, Env, Facts], Any]] = {
    aten.slice_scatter.default: slice_scatter,
    aten.select_scatter.default: select_scatter,
    aten.copy.default: copy,
}
