"""From the compiled graph to what users run: a static module, standalone source, ONNX."""

from __future__ import annotations

from igc.emit.static import StaticNetwork, emit

__all__ = ["StaticNetwork", "emit"]
