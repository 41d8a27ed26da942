"""Translation validation: the ONNX graph is shown to compute the gated network, for every input."""
