"""A static network as an ONNX file."""
