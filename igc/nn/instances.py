"""`isinstance(x, torch.Tensor)` while tracing: a traced tensor is a tensor for whoever asks.

Libraries look up what they were given before they compute (einops does, type-checked functions
do). The answer comes from the example's value; without one, a traced value is a tensor unless it
is a size. torch itself is told the truth: its code would read a proxy as a tensor's memory.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from igc.nn.examples import VALUE
from igc.nn.layer_kinds import is_shape


@contextmanager
def traced_instances() -> Iterator[None]:
    """Within, `isinstance` and `torch.is_tensor` answer for a proxy as for what it stands for."""
    plain, plain_is_tensor = builtins.isinstance, torch.is_tensor

    def answered(value: Any, kinds: Any) -> bool:
        if plain(value, kinds):
            return True
        if not plain(value, fx.Proxy):
            return False
        asks = sys._getframe(1).f_globals.get("__name__", "")
        return asks.partition(".")[0] != "torch" and _stands_for(value, kinds)

    def answered_is_tensor(value: Any) -> bool:
        return answered(value, Tensor)

    def _stands_for(value: Any, kinds: Any) -> bool:
        if VALUE in value.node.meta:
            return plain(value.node.meta[VALUE], kinds)
        computed = type(value) is not fx.proxy.Attribute  # `x.shape`, or a method not yet called
        return computed and not is_shape(value.node) and issubclass(Tensor, kinds)

    patched: Any = builtins
    patched.isinstance, torch.is_tensor = answered, answered_is_tensor  # type: ignore[assignment]  # a TypeIs
    try:
        yield
    finally:
        patched.isinstance, torch.is_tensor = plain, plain_is_tensor
