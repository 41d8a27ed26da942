"""`with torch.no_grad():` and `with torch.autocast(...):` inside a backbone's forward.

A graph has no `with`. Every node remembers the regions that it was traced in, and the gated
network enters them again around that node alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from igc.nn.proxies import first_proxy, recorded

REGION = "igc_region"  # node.meta: the Region that the node was traced in, absent outside any


@dataclass(frozen=True)
class Cast:
    """One `torch.autocast`, switched on or off."""

    device: str
    dtype: torch.dtype
    enabled: bool

    def enter(self) -> Any:
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled)


@dataclass(frozen=True)
class Region:
    """Whether gradients are off, and the autocasts from the outside in."""

    frozen: bool
    casts: tuple[Cast, ...]


class Regions:
    """The regions that the traced Python is in at any moment."""

    def __init__(self) -> None:
        self._casts: list[Cast] = []

    @property
    def current(self) -> Region | None:
        """The region, or None where everything is the caller's."""
        region = Region(not torch.is_grad_enabled(), tuple(self._casts))
        return region if region.frozen or region.casts else None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within, gradients are on to begin with and each autocast is noted while it lasts."""
        kind: Any = torch.amp.autocast_mode.autocast
        enter, leave = kind.__enter__, kind.__exit__

        def entering(region: Any) -> Any:
            self._casts.append(Cast(region.device, region.fast_dtype, region._enabled))
            return enter(region)

        def leaving(region: Any, *error: Any) -> Any:
            self._casts.pop()
            return leave(region, *error)

        kind.__enter__, kind.__exit__ = entering, leaving
        try:
            with torch.enable_grad():
                yield
        finally:
            kind.__enter__, kind.__exit__ = enter, leave


@dataclass(frozen=True)
class Within:
    """Calls in a region: a function or a method's name, or the module that is its first argument.

    `target` None stands for that module.
    """

    region: Region
    target: Any = None

    @property
    def __name__(self) -> str:
        name = self.target if isinstance(self.target, str) else _name(self.target)
        return f"within_{name}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        proxy = first_proxy(args, kwargs)  # the gated network itself may be traced
        if proxy is not None:
            return self._traced(proxy, args, kwargs)
        with ExitStack() as stack:
            if self.region.frozen:
                stack.enter_context(torch.no_grad())
            for cast in self.region.casts:
                stack.enter_context(cast.enter())
            if isinstance(self.target, str):
                return getattr(args[0], self.target)(*args[1:], **kwargs)
            if self.target is None:
                return args[0](*args[1:], **kwargs)
            return self.target(*args, **kwargs)

    def _traced(self, proxy: fx.Proxy, args: Any, kwargs: Any) -> fx.Proxy:
        if self.target is None:
            tracer: Any = proxy.tracer
            path = tracer.path_of_module(args[0])
            args = (tracer.create_proxy("get_attr", path, (), {}), *args[1:])
        return recorded(proxy, self, args, kwargs)


def _name(target: Any) -> str:
    return "module" if target is None else getattr(target, "__name__", "call")


def copy_in_region(
    graph: fx.Graph, node: fx.Node, target: Any, args: Any, kwargs: Any, name: str
) -> fx.Node:
    """Appends a copy of `node` to `graph` that runs in the regions which `node` stood in."""
    region = node.meta.get(REGION)
    if region is None or not node.op.startswith("call_"):
        return graph.create_node(node.op, target, args, kwargs, name, node.type)
    if node.op == "call_module":
        module = graph.create_node("get_attr", target, (), {}, f"{name}_module")
        return graph.create_node("call_function", Within(region), (module, *args), kwargs, name)
    return graph.create_node("call_function", Within(region, target), args, kwargs, name)
