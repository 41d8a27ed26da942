"""A torch.fx graph as a Python function."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from typing import Any

from torch import fx

_serial = itertools.count()


def function_of(graph: fx.Graph) -> Callable[..., Any]:
    """Returns `forward(self, *inputs)`; a traceback through it shows the generated lines."""
    python = graph.python_code("self")
    filename = f"<gated network {next(_serial)}>"
    linecache.cache[filename] = (len(python.src), None, python.src.splitlines(True), filename)
    namespace = dict(python.globals)
    exec(compile(python.src, filename, "exec"), namespace)
    forward: Callable[..., Any] = namespace["forward"]
    return forward
