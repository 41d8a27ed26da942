"""A program as a plain PyTorch module, and as source text."""
