"""The PSPNet head: pyramid pooling, then a 3x3 and a 1x1 convolution.

Source: Zhao et al., "Pyramid scene parsing network" (2017); layout and parameter names (``ppm``,
``cls``) as in its authors' PyTorch repository.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igc.models.heads import enlarge


class PyramidPooling(nn.Module):
    """The input and its averages over ``bins`` x ``bins`` grids: inputs to 2 x inputs channels."""

    def __init__(self, inputs: int, bins: Sequence[int]) -> None:
        super().__init__()
        width = inputs // len(bins)
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size),
                nn.Conv2d(inputs, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for size in bins
        )
        self.outputs = inputs + len(bins) * width

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        views = [
            F.interpolate(view(x), size=size, mode="bilinear", align_corners=True)
            for view in self.features
        ]
        return torch.cat([x, *views], 1)


class PSPHead(nn.Module):
    """Features (N, inputs, H, W) to (N, classes, H, W), enlarged by ``upsample``."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        width: int = 512,
        upsample: int = 1,
    ) -> None:
        super().__init__()
        self.ppm = PyramidPooling(inputs, bins)
        self.cls = nn.Sequential(
            nn.Conv2d(self.ppm.outputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(width, classes, 1),
        )
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        return enlarge(self.cls(self.ppm(x)), self.upsample)
