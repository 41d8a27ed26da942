"""The small heads: a linear classifier and the head of HRNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LinearHead(nn.Module):
    """A linear classifier: features to logits (N, classes).

    Feature maps (N, inputs, H, W) are averaged over H and W; of transformer tokens
    (N, tokens, inputs) the first, the class token, is read if ``token`` is true.
    """

    def __init__(self, inputs: int, classes: int, *, token: bool = False) -> None:
        super().__init__()
        self.token = token
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x[:, 0] if self.token else x.mean((2, 3))
        logits: Tensor = self.fc(pooled)
        return logits


class HRNetHead(nn.Module):
    """The head of HRNetV2: scales (N, widths[k], H / 2^k, W / 2^k) to (N, classes, H, W).

    Every scale is upsampled to the first, all are concatenated and go through two 1x1
    convolutions. ``upsample`` enlarges the result by a factor, 4 for HRNet's own input size.

    Source: Wang et al., "Deep high-resolution representation learning for visual recognition"
    (2020), figure 4 (b); parameter names as in its segmentation repository (``last_layer``).
    """

    def __init__(self, widths: Sequence[int], classes: int, *, upsample: int = 1) -> None:
        super().__init__()
        total = sum(widths)
        self.upsample = upsample
        self.last_layer = nn.Sequential(
            nn.Conv2d(total, total, 1),
            nn.BatchNorm2d(total),
            nn.ReLU(),
            nn.Conv2d(total, classes, 1),
        )

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        size = scales[0].shape[-2:]
        rest = [F.interpolate(x, size=size, mode="bilinear") for x in scales[1:]]
        return enlarge(self.last_layer(torch.cat([scales[0], *rest], 1)), self.upsample)


def enlarge(x: Tensor, factor: int) -> Tensor:
    """A feature map enlarged bilinearly by a whole factor; the map itself for 1."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear")
