"""Python text of the plain values that a call may take, and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from igc.errors import BadInput
from igc.program.schema import is_size


@dataclass(frozen=True)
class Writer:
    """Writes argument values as Python text.

    `ref` gives the text of an operand. `dtype` is the network's own floating type: where a call
    names it, the text names the type of the parameter `like` instead, so that the module still
    works after `.double()`, `.half()` or `.to(device)`.
    """

    ref: Callable[[fx.Node], str]
    dtype: torch.dtype
    like: str | None

    def __call__(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self.ref(value)
        if isinstance(value, (list, tuple)):
            return self.sequence(value)
        if isinstance(value, torch.dtype):
            own = value == self.dtype and self.like is not None
            return f"{self.like}.dtype" if own else str(value)
        if isinstance(value, torch.device):
            return f"{self.like}.device" if self.like else f"torch.device({str(value)!r})"
        return scalar(value)

    def sequence(self, values: list[Any] | tuple[Any, ...]) -> str:
        """A list where it holds tensors, a tuple of numbers otherwise."""
        inner = ", ".join(self(v) for v in values)
        if any(isinstance(v, fx.Node) and not is_size(v) for v in values):
            return f"[{inner}]"
        return f"({inner},)" if len(values) == 1 else f"({inner})"

    def call(self, function: str, *args: Any, **kwargs: Any) -> str:
        """`function(args..., name=value...)` as text; the arguments are values, not text."""
        parts = [self(a) for a in args] + [f"{k}={self(v)}" for k, v in kwargs.items()]
        return f"{function}({', '.join(parts)})"


def scalar(value: Any) -> str:
    """Text of a number, bool, string, None or torch enumeration; `BadInput` for anything else."""
    if type(value) is str:
        simple = value.isascii() and value.isprintable() and not set(value) & set('"\\')
        return f'"{value}"' if simple else ascii(value)
    if value is None or type(value) in (bool, int):
        return repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, (torch.layout, torch.memory_format)):
        return str(value)
    raise BadInput(
        f"cannot write a {type(value).__name__} into generated code; "
        "a network's calls may hold tensors, numbers, strings and torch types"
    )


def key_text(key: Any) -> str:
    """Text of a key of a dict: of a plain value, or of a tuple of those."""
    if type(key) is not tuple:
        return scalar(key)
    return f"({''.join(f'{scalar(k)}, ' for k in key).rstrip()})"
