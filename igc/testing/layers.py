"""Kernels with a norm and an activation, as generated networks use them.

A `Layer` also takes a mask, which it multiplies on the rows of its weights and biases, so that
masked channels come out as exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing.spec import Node, Shape

ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}
NORMS = ("", "bn", "in", "gn", "ln")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ZERO_ACTS = ("", "relu", "relu6", "leaky", "gelu", "silu", "hardswish", "tanh", "elu")  # f(0) = 0


class Layer(nn.Module):
    """A kernel (convolution or linear layer), then a norm, then an activation."""

    def __init__(self, kernel: nn.Module, node: Node, shape: Shape) -> None:
        super().__init__()
        self.kernel, self.act, self.out = kernel, ACTS[node.act], shape
        self.norm = make_norm(node.norm, shape)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return self.act(self.norm(self.kernel(x)))
        value = self._masked_kernel(x, mask)
        norm = self.norm
        if isinstance(norm, BATCH_NORMS):
            value = F.batch_norm(
                value, norm.running_mean, norm.running_var, norm.weight * mask, norm.bias * mask
            )
        return self.act(value)

    def _masked_kernel(self, x: Tensor, mask: Tensor) -> Tensor:
        kernel = self.kernel
        if isinstance(kernel, nn.Embedding):
            return F.embedding(x, kernel.weight * mask)
        assert isinstance(kernel, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d))
        given: Tensor | None = kernel.bias  # torch declares it as always there
        bias = None if given is None else given * mask
        if isinstance(kernel, nn.Linear):
            return F.linear(x, kernel.weight * mask[:, None], bias)
        if isinstance(kernel, nn.ConvTranspose2d):
            weight = kernel.weight * mask.view(1, -1, 1, 1)
            return F.conv_transpose2d(x, weight, bias, kernel.stride, kernel.padding)  # type: ignore[arg-type]  # stubs want int
        weight = kernel.weight * mask.view(-1, *([1] * (kernel.weight.ndim - 1)))
        value: Tensor = kernel._conv_forward(x, weight, bias)
        return value


class ChannelNorm(nn.Module):
    """Layer norm over the channel axis of an image or signal, written with permutes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.norm(x.movedim(1, -1))
        return value.movedim(-1, 1)


def make_norm(name: str, shape: Shape) -> nn.Module:
    """The norm layer of that name for values of that shape."""
    width, last = shape.width, shape.axis == -1
    if name == "":
        return nn.Identity()
    if name == "bn":
        kinds = {"image": nn.BatchNorm2d, "volume": nn.BatchNorm3d}
        return kinds.get(shape.kind, nn.BatchNorm1d)(width)
    if name == "in":
        instance = {"image": nn.InstanceNorm2d, "volume": nn.InstanceNorm3d}
        return instance.get(shape.kind, nn.InstanceNorm1d)(width, affine=True)
    if name == "gn":
        return nn.GroupNorm(2, width)
    if name == "ln":
        return nn.LayerNorm(width) if last else ChannelNorm(width)
    raise ValueError(f"unknown norm {name!r}")
