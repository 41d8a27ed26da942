"""`torch.ones(x.shape[0], 4)` while tracing: functions that make tensors, given traced sizes.

They take no tensor, so torch does not hand them over to the proxy of a size as it does with every
other function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from igc.nn.proxies import first_proxy, recorded

NAMES = (
    *("arange", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint"),
    *("randn", "randperm", "zeros"),
)


@contextmanager
def traced_factories() -> Iterator[None]:
    """Within, a call with a proxy among its arguments becomes a node; any other is as usual."""
    originals = {name: getattr(torch, name) for name in NAMES}
    try:
        for name, original in originals.items():
            setattr(torch, name, _tracing(original))
        yield
    finally:
        for name, original in originals.items():
            setattr(torch, name, original)


def _tracing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxy = first_proxy(args, kwargs)
        return (
            recorded(proxy, original, args, kwargs)
            if proxy is not None
            else original(*args, **kwargs)
        )

    return call
