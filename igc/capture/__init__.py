"""From any `nn.Module` to a program: exported by torch, then spelled uniformly."""

from igc.capture.axes import Example, as_inputs, capture

__all__ = ["Example", "as_inputs", "capture"]
