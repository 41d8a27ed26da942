"""einops while tracing: each `rearrange`, `reduce` and `repeat` is one node, sizes left open.

Traced through, einops would ask for the number of axes and divide sizes in Python, which needs
an example and settles them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch import nn

from igc.nn.proxies import first_proxy, recorded


def loaded_einops() -> tuple[ModuleType, ...]:
    """The modules whose functions torch.fx is to record where a forward names them.

    Where einops is installed it is loaded, since a forward may import it only when it runs.
    """
    if "einops" not in sys.modules and importlib.util.find_spec("einops") is None:
        return ()
    return (importlib.import_module("einops"),)


def is_einops_layer(module: nn.Module) -> bool:
    """Whether the module is one of `einops.layers`, which are kept whole."""
    return type(module).__module__.partition(".")[0] == "einops"


@contextmanager
def traced_einops() -> Iterator[None]:
    """Within, `einops.einops.reduce`, which the others call from anywhere, becomes a node."""
    home: Any = sys.modules.get("einops.einops")
    if home is None:
        yield
        return
    original = home.reduce

    def reduce(tensor: Any, pattern: str, reduction: Any, **axes: Any) -> Any:
        proxy = first_proxy(tensor, axes)
        if proxy is None:
            return original(tensor, pattern, reduction, **axes)
        return recorded(proxy, original, (tensor, pattern, reduction), axes)

    home.reduce = reduce
    try:
        yield
    finally:
        home.reduce = original
