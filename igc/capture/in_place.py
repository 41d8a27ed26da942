"""In-place calls written as pure ones, where that is plainly safe.

`torch.export` keeps the user's in-place calls (`relu_`, `add_`). Where nothing else can see the
changed tensor through a view, `y = relu_(x)` is `y = relu(x)` with every later use of x reading y.
Anything else is left to torch's own functionalisation, which is exact and takes twice as long.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from igc.program.nodes import SIZE_OPS
from igc.program.schema import base_name

aten = torch.ops.aten
# Ops that may hand back their operand itself although their schema does not say so.
MAYBE_SAME = frozenset({"dropout", "feature_dropout", "alpha_dropout", "identity"})


def functionalized(graph: fx.Graph, known: Mapping[str, Any]) -> fx.Graph | None:
    """The graph without in-place calls, over ops in `known` only; `None` where torch must do it."""
    for node in graph.nodes:
        if node.op == "call_function" and not _understood(node, known):
            return None
    pure = fx.Graph()
    current: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        target = node.target
        if isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable:
            changed = node.args[0]
            if not isinstance(changed, fx.Node) or changed.op == "placeholder" or _seen(changed):
                return None
            new = pure.create_node(
                "call_function",
                pure_overload(target),
                fx.map_arg(node.args, current.__getitem__),
                fx.map_arg(node.kwargs, current.__getitem__),
                name=node.name.rstrip("_") or None,
            )
            new.meta = dict(node.meta)
            current[node] = current[changed] = new
        else:
            current[node] = pure.node_copy(node, current.__getitem__)
    return pure


def _understood(node: fx.Node, known: Mapping[str, Any]) -> bool:
    target = node.target
    if target in SIZE_OPS or target is operator.getitem:
        return True
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if target._schema.is_mutable:
        pure = pure_overload(target)
        return pure is not None and str(pure) in known
    return str(target) in known


def pure_overload(target: torch._ops.OpOverload) -> Any:
    """`aten.relu.default` for `aten.relu_.default`; `None` where there is no such op."""
    space, name, overload = str(target).split(".")
    if space != "aten" or not name.endswith("_") or name.startswith("_"):
        return None
    packet = getattr(aten, name[:-1], None)
    return getattr(packet, overload, None) if packet is not None else None


def _seen(node: fx.Node) -> bool:
    """Whether another tensor may share memory with this one."""
    return _aliases(node) or any(_aliases(user) for user in node.users)


def _aliases(node: fx.Node) -> bool:
    target = node.target
    if target is operator.getitem:
        return True
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if base_name(target) in MAYBE_SAME:
        return True
    return any(
        r.alias_info is not None and not r.alias_info.is_write for r in target._schema.returns
    )
