"""A third-party network gated for two tasks, with random gates and branches that differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

import igc
from benchmarks.foreign.catalog import CLASSES
from igc.nn.network import GatedNetwork

SCALED = (nn.Linear, nn.modules.conv._ConvNd)


class Head(nn.Module):
    """A linear layer on the classes' axis: axis 1 of maps, the last one of vectors."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(CLASSES, outputs)

    def forward(self, features: Any) -> Tensor:
        while not isinstance(features, Tensor):  # {"out": maps}, (logits, ...)
            features = features["out"] if isinstance(features, dict) else features[0]
        if features.ndim == 4:
            return self.linear(features.movedim(1, -1)).movedim(-1, 1)
        return self.linear(features)


def settle(net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Draws what is constant at the start (norms, layer scales, zeroed layers) anew.

    The weights of layers whose output moves little or far with the input are scaled, and the
    running statistics of batch norms are those of random pictures: the outputs then depend on the
    input however deep the network is, which a comparison of outputs needs.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for p in net.parameters():
            if p.is_floating_point() and bool((p == p.reshape(-1)[0]).all()):
                p.copy_(p.clamp(-1, 1) + 0.3 * torch.randn(p.shape))
        net.eval()
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = 1.0
            norm.train()
        hooks = [m.register_forward_hook(_to_unit) for m in net.modules() if isinstance(m, SCALED)]
        net(*(torch.randn(4, *x.shape[1:]) for x in inputs))
        for hook in hooks:
            hook.remove()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()


def _to_unit(layer: Any, _: Any, output: Tensor) -> Tensor:
    """Scales a layer's weight, and what it has just given, so that inputs move it by about 1."""
    moved = float((output - output.mean(0)).std())
    if 0.3 <= moved <= 3 or moved == 0:
        return output
    layer.weight.div_(moved)
    if layer.bias is None:
        return output / moved
    convolution = isinstance(layer, nn.modules.conv._ConvNd)
    bias = layer.bias.reshape(-1, *[1] * (layer.weight.ndim - 2)) if convolution else layer.bias
    return (output - bias) / moved + bias


def gated(net: nn.Module, inputs: tuple[Tensor, ...], at: str) -> GatedNetwork:
    """The network gated for tasks "a" and "b" at blocks or layers, in evaluation mode.

    Python's questions on shapes are answered by the example inputs where the network asks any.
    """
    heads = {"a": Head(4), "b": Head(3)}
    try:
        gated_net = igc.gate(net, heads, at=at)
    except igc.errors.BadInput as refusal:
        if "example_inputs" not in str(refusal):
            raise
        gated_net = igc.gate(net, heads, at=at, example_inputs=inputs)
    with torch.no_grad():
        for branch in gated_net.branches.values():
            _jitter(branch.parameters())
        for p in gated_net.gate_parameters():
            drawn = torch.randn(p.shape)
            # Not so near to 0 that float32 and float64, both compared here, decide differently.
            p.copy_(drawn + 0.001 * drawn.sign())
    return gated_net.eval()


def _jitter(parameters: Iterable[nn.Parameter]) -> None:
    """Moves a branch away from the others: a tenth of each tensor's spread."""
    for p in parameters:
        if p.is_floating_point():
            spread = float(p.std()) if p.numel() > 1 else 0.1
            p.add_(0.1 * spread * torch.randn(p.shape))
