"""Whether a call was handed a traced value, and then: the call as a node of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx
from torch.utils import _pytree as pytree


def first_proxy(*values: Any) -> fx.Proxy | None:
    """Returns the first traced value among `values`, in lists, tuples and dicts too."""
    for value in pytree.tree_leaves(values):
        if isinstance(value, fx.Proxy):
            return value
    return None


def recorded(proxy: fx.Proxy, target: Callable[..., Any], args: Any, kwargs: Any) -> fx.Proxy:
    """Returns the value of the node that calls `target`, in the graph that `proxy` is of."""
    return proxy.tracer.create_proxy("call_function", target, tuple(args), dict(kwargs))
