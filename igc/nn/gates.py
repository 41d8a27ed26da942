"""The gate: per channel, the task's own feature or the shared one (equations 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn.broadcast import per_channel

torch.fx.wrap("per_channel")

OPEN = 1.0
"""The default alpha: sigmoid(1) = 0.73, so a new gate is open and its task starts on its own."""
THRESHOLD = 0.5
"""Of sigmoid(alpha): a gate is open above it, closed at it and below."""


def is_open(alpha: Tensor) -> Tensor:
    """Which gates are open, as booleans, decided in the precision of `alpha`, as networks do."""
    return torch.sigmoid(alpha) > THRESHOLD


class Gate(nn.Module):
    """One task's switch on each of `channels` channels of a layer.

        G = [ sigmoid(alpha) > 0.5 ]        open: task-specific; closed, at exactly 0.5 too: shared
        phi' = G * phi + (1 - G) * psi

    `axis` is where the channels live: 1 in [B, C, H, W], -1 in [B, N, C]. `init` is the first
    value of alpha, one number or one per channel.

    In training the backward pass treats the threshold as the identity (straight-through):

        d/dphi   = G * g
        d/dpsi   = (1 - G) * g
        d/dalpha = sum g * (phi - psi) * sigmoid'(alpha)      over all axes but the channels'

    The forward pass is `torch.where` in both modes, so training and evaluation agree bit for bit.
    Source: InterroGate, equations 2 and 3.
    """

    def __init__(
        self, channels: int, axis: int = 1, init: float | Sequence[float] | Tensor = OPEN
    ) -> None:
        super().__init__()
        self.axis = axis
        self.alpha = nn.Parameter(_alpha(channels, init))

    @property
    def mask(self) -> Tensor:
        """The gate as booleans [C]: True where it is open (the task's own feature is taken)."""
        return is_open(self.alpha)

    def forward(self, task: Tensor, shared: Tensor) -> Tensor:
        """Returns, per channel, `task` where the gate is open and `shared` where it is closed."""
        if self.training:
            return _straight_through(task, shared, torch.sigmoid(self.alpha), self.axis)
        return torch.where(per_channel(self.mask, task, self.axis), task, shared)

    def extra_repr(self) -> str:
        return f"{self.alpha.numel()}, axis={self.axis}, open={int(self.mask.sum())}"


@torch.fx.wrap
def _straight_through(task: Tensor, shared: Tensor, probability: Tensor, axis: int) -> Tensor:
    apply: Callable[..., Tensor] = _Select.apply
    return apply(task, shared, probability, axis)


class _Select(torch.autograd.Function):
    """`where` forward; backward as if the gate were the probability itself.

    Not `hard + soft - soft.detach()`: that sum is off by a rounding error, and training and
    evaluation would disagree.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(task: Tensor, shared: Tensor, probability: Tensor, axis: int) -> Tensor:
        return torch.where(per_channel(probability > THRESHOLD, task, axis), task, shared)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Tensor) -> None:
        task, shared, probability, ctx.axis = inputs
        ctx.save_for_backward(task, shared, probability)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        (grad,) = grads
        task, shared, probability = ctx.saved_tensors
        mask = per_channel(probability > THRESHOLD, grad, ctx.axis)
        return (
            torch.where(mask, grad, 0),
            torch.where(mask, 0, grad),
            _sum_to_channels(grad * (task - shared), ctx.axis) if ctx.needs_input_grad[2] else None,
            None,
        )


def _sum_to_channels(x: Tensor, axis: int) -> Tensor:
    return x.movedim(axis, -1).flatten(0, -2).sum(0) if x.dim() > 1 else x


def _alpha(channels: int, init: float | Sequence[float] | Tensor) -> Tensor:
    if channels < 1:
        raise BadInput(f"a gate needs at least one channel, not {channels}")
    value = torch.as_tensor(init, dtype=torch.get_default_dtype()).detach()
    if value.dim() and value.shape != (channels,):
        raise BadInput(
            f"gate init has shape {tuple(value.shape)}: "
            f"give one number, or one per channel ({channels})"
        )
    return value.expand(channels).clone()
