"""Channels of rectifiers that gave 0 on every input: what lies behind them was not tested."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from torch import Tensor, fx

from igc.program.nodes import layer_of
from igc.program.schema import argument, op_name

SHOWN = 4  # layers
Store = MutableMapping[Any, list[Tensor]]


def watch(store: Store, node: fx.Node, value: Any) -> None:
    """Notes in `store`, by node, which channels of a rectifier were more than 0 so far."""
    if not isinstance(value, Tensor) or value.ndim < 2 or not _rectifies(node):
        return
    fired = (value > 0).movedim(1, 0).flatten(1).any(1)
    key = (watch, layer_of(node), node.name)
    known = store.get(key)
    store[key] = [fired | known[0] if known and known[0].shape == fired.shape else fired]


def idle(store: Store) -> list[str]:
    """A line where some channels never were; none where all were."""
    seen = {k[1:]: v[0] for k, v in store.items() if k[0] is watch}
    dead = {key: int((~fired).sum()) for key, fired in seen.items()}
    if not any(dead.values()):
        return []
    layers = list(dict.fromkeys(layer for (layer, _), count in dead.items() if count))
    named = ", ".join(layers[:SHOWN]) + (", ..." if len(layers) > SHOWN else "")
    total = sum(len(fired) for fired in seen.values())
    return [
        f"not exercised: {sum(dead.values())} of {total} ReLU channels were 0 on every input that "
        f"was run in float64 ({named})"
    ]


def _rectifies(node: fx.Node) -> bool:
    if node.op != "call_function":
        return False
    name = op_name(node)
    if name == "hardtanh":
        return bool(argument(node, "min_val") == 0)
    if name == "clamp":
        least = argument(node, "min")
        return isinstance(least, (int, float)) and least == 0 and argument(node, "max") is None
    return name in ("relu", "relu6")
