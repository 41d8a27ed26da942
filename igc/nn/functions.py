"""`torch.autograd.Function` while tracing: one node, which keeps the backward that was written.

Traced through, only the operations of its forward would be left, with their own gradients: a
gradient reversal would turn round, a straight-through estimator would give zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.autograd.function import _SingleLevelFunction

from igc.errors import BadInput
from igc.nn.proxies import first_proxy, recorded

CHECKPOINT = "torch.utils.checkpoint"


@dataclass(frozen=True)
class Apply:
    """`function.apply`, as what a node calls: it has a name, compares, copies and pickles."""

    function: type[torch.autograd.Function]

    @property
    def __name__(self) -> str:
        return f"{self.function.__name__}_apply"

    def __call__(self, *args: Any) -> Any:
        proxy = first_proxy(args)  # the gated network itself may be traced
        if proxy is not None:
            return recorded(proxy, self, args, {})
        function: Any = self.function
        return function.apply(*args)


@contextmanager
def traced_functions() -> Iterator[None]:
    """Within, a Function that is applied to a proxy becomes a node.

    `torch.utils.checkpoint` is a Function too; it only computes things twice, so what it runs is
    traced in place. Patched below `Function.apply`, which networks keep under other names
    (`reverse = Reverse.apply`).
    """
    base: Any = _SingleLevelFunction

    def apply(cls: Any, *args: Any) -> Any:
        proxy = first_proxy(args)
        if proxy is None or cls.__module__ == CHECKPOINT:
            if proxy is not None and cls.__name__ == "CheckpointFunction":
                run, _, *given = args
                return run(*given)
            return super(base, cls).apply(*args)
        _refuse_in_place(cls)
        return recorded(proxy, Apply(cls), args, {})

    base.apply = classmethod(apply)
    try:
        yield
    finally:
        del base.apply


def _refuse_in_place(function: Any) -> None:
    """A Function that marks an input as dirty has changed it, and igc would not see that."""
    for method in (function.forward, function.setup_context):
        code = getattr(method, "__code__", None)
        if code is not None and "mark_dirty" in cast(Any, code).co_names:
            raise BadInput(
                f"the backbone applies {function.__name__}, a torch.autograd.Function that changes "
                "its input in place (mark_dirty): let its forward return a new tensor"
            )
