"""Buffers that a backbone's own Python changes in forward: a counter, a running mean by hand.

A graph computes values and keeps none. A module that changes its buffers has to stay whole.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from igc.nn.in_place import IN_PLACE_OPERATORS, VIEWS, called
from igc.nn.trace import PATH, Traced
from igc.nn.traced_values import with_item


def changing_modules(traced: Traced) -> set[str]:
    """Returns the paths of the modules whose forward changes a tensor of the backbone.

    In place, or by giving a buffer's name a new tensor.
    """
    assigned = {
        path
        for path, module in traced.root.named_modules()
        if any(isinstance(buffer, fx.Proxy) for buffer in module._buffers.values())
    }
    in_place = {
        node.meta[PATH]
        for node in traced.graph.nodes
        if _changes_its_first(node) and _is_stored(node.args[0])
    }
    return assigned | in_place


def _changes_its_first(node: fx.Node) -> bool:
    name = called(node)
    in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
    return bool(node.args) and (
        in_place or node.target in IN_PLACE_OPERATORS or node.target is with_item
    )


def _is_stored(value: Any) -> bool:
    while isinstance(value, fx.Node) and called(value) in VIEWS and value.args:
        value = value.args[0]
    # What the trace itself has made of a tensor (`torch.zeros(3)`) is made anew in each pass.
    return (
        isinstance(value, fx.Node)
        and value.op == "get_attr"
        and not str(value.target).startswith("_tensor_constant")
    )
