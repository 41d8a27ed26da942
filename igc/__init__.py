"""igc compiles trained gated multi-task networks into plain static ones and proves them equal.

    static = igc.compile("gated.pt")               # or igc.compile(module, example_inputs)
    igc.export_onnx(static, "model.onnx")
    print(igc.verify("gated.pt", "model.onnx"))
    igc.deliver("gated.pt", "model.onnx")          # all of it at once, as `igc compile` does

The names below are the public interface; they are imported when first used, so that
`import igc` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from igc.version import __version__

if TYPE_CHECKING:
    from igc.checkpoint import load as load
    from igc.checkpoint import save as save
    from igc.compiler import compile as compile
    from igc.delivery import deliver as deliver
    from igc.delivery import export_onnx as export_onnx
    from igc.emit import StaticNetwork as StaticNetwork
    from igc.nn import gate as gate
    from igc.nn import sparsity_loss as sparsity_loss
    from igc.reports import explain as explain
    from igc.reports import inspect as inspect
    from igc.reports import report as report
    from igc.verification import verify as verify

_HOMES = {
    "StaticNetwork": "igc.emit",
    "compile": "igc.compiler",
    "deliver": "igc.delivery",
    "explain": "igc.reports",
    "export_onnx": "igc.delivery",
    "gate": "igc.nn",
    "inspect": "igc.reports",
    "load": "igc.checkpoint",
    "report": "igc.reports",
    "save": "igc.checkpoint",
    "sparsity_loss": "igc.nn",
    "verify": "igc.verification",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'igc' has no attribute '{name}'")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
