"""Backbones and heads of the papers, as plain `nn.Module`s that have never heard of gates."""
