"""The DeepLabV3 head: atrous spatial pyramid pooling, then a 3x3 and a 1x1 convolution.

Source: Chen et al., "Rethinking atrous convolution for semantic image segmentation" (2017); layout
and parameter names as in torchvision's DeepLabHead, with rates 12, 24, 36.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from igc.models.heads import enlarge


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, rate: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, 1, rate * (kernel // 2), rate, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class ImagePool(nn.Sequential):
    """The image-level feature: global average, 1x1 convolution, broadcast to the input's size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_conv_bn_relu(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = x
        for module in self:
            pooled = module(pooled)
        # Bilinear interpolation of a single pixel is that pixel everywhere.
        return pooled.expand(-1, -1, x.shape[2], x.shape[3])


class ASPP(nn.Module):
    """Parallel views of one feature map, concatenated and projected: inputs to outputs channels."""

    def __init__(self, inputs: int, rates: Sequence[int], outputs: int) -> None:
        super().__init__()
        dilated = [_conv_bn_relu(inputs, outputs, 3, rate) for rate in rates]
        views = [_conv_bn_relu(inputs, outputs, 1), *dilated, ImagePool(inputs, outputs)]
        self.convs = nn.ModuleList(views)
        self.project = nn.Sequential(
            *_conv_bn_relu(len(views) * outputs, outputs, 1), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(torch.cat([view(x) for view in self.convs], 1))
        return out


class ASPPHead(nn.Sequential):
    """Features (N, inputs, H, W) to (N, classes, H, W), enlarged by ``upsample``."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        rates: Sequence[int] = (12, 24, 36),
        width: int = 256,
        upsample: int = 1,
    ) -> None:
        super().__init__(
            ASPP(inputs, rates, width),
            *_conv_bn_relu(width, width, 3),
            nn.Conv2d(width, classes, 1),
        )
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return enlarge(x, self.upsample)
