"""Tensors made in the likeness of another: told by their sizes and type alone.

`x.new_zeros(2, 3)` or `ones_like(x)` reads nothing of x but its shape and type; written as `full`,
no channel of x is kept for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.program.nodes import args_of, call_like, copy_node, mapped
from igc.program.shapes import Value

aten = torch.ops.aten
Env = dict[fx.Node, Any]


def _full(value: float | None, sizes_given: bool) -> Callable[..., Any]:
    def rewrite(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
        """full(sizes, value) in the node's own type; `value` None: it is the last argument."""
        x, *rest = args_of(node)
        fill = rest[-1] if value is None and rest else node.kwargs.get("fill_value", value)
        if isinstance(fill, fx.Node) or fill is None:
            return copy_node(graph, node, env.__getitem__)
        sizes = (
            mapped(list(rest[0]), env.__getitem__)
            if sizes_given
            else [
                call_like(graph, node, aten.sym_size.int, env[x], a)
                for a in range(len(facts[x].dims))
            ]
        )
        dtype = facts[node].dtype
        new = call_like(graph, node, aten.full.default, sizes, _of_type(fill, dtype))
        new.kwargs = {"dtype": dtype, "device": torch.device("cpu")}
        return new

    return rewrite


def _of_type(value: Any, dtype: torch.dtype | None) -> Any:
    """The number as one of that type: `full` and its spellings round alike."""
    if dtype == torch.bool:
        return bool(value)
    return value


CREATED: dict[Any, Callable[..., Any]] = {
    aten.new_zeros.default: _full(0, True),
    aten.new_ones.default: _full(1, True),
    aten.new_full.default: _full(None, True),
    aten.zeros_like.default: _full(0, False),
    aten.ones_like.default: _full(1, False),
    aten.full_like.default: _full(None, False),
}
