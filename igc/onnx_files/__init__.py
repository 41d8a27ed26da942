"""Anybody's ONNX file: looked through before any tool runs it, run within bounds, counted."""
