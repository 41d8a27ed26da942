"""From the compiled graph to what users run: a static module, standalone source, ONNX."""

from __future__ import annotations

from igc.emit.onnx.write import OnnxInfo, write_onnx
from igc.emit.torch.source import write_source
from igc.emit.torch.static import StaticNetwork, emit

__all__ = ["OnnxInfo", "StaticNetwork", "emit", "write_onnx", "write_source"]
