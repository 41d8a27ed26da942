"""ResNet for 32x32 pictures.

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
section 4.2: a 3x3 convolution, then three stages of n two-convolution blocks on 32x32, 16x16 and
8x8 maps with 16, 32 and 64 channels; depth 6n + 2. ResNet-20 is n = 3: 0.27 M parameters.
"""

from __future__ import annotations

from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

Shortcut = Literal["A", "B"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; halves the map and doubles the channels if asked.

    `shortcut` says what the identity becomes where shapes differ (He et al., section 4.1):
    "A" takes every second pixel and pads the missing channels with zeros (no parameters; half of
    them on each side, as the usual CIFAR code does), "B" is a 1x1 convolution with BatchNorm.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs
        self.downsample: nn.Module | None = None
        if shortcut == "B" and (stride != 1 or self.extra):
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the block's output (N, outputs, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self._identity(x))

    def _identity(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            return cast(Tensor, self.downsample(x))
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.extra:
            x = F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return x


class ResNetCifar(nn.Module):
    """The backbone: pictures (N, 3, H, W) to features (N, `features`, H / 4, W / 4).

    `widths` are the channels of the three stages, `blocks` the blocks per stage.
    Parameters are named conv1, bn1, layer1.0.conv1, ..., layer3.2.bn2.
    """

    def __init__(self, widths: tuple[int, int, int], blocks: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.features = widths[2]
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(widths[0], widths[0], blocks, 1, shortcut)
        self.layer2 = _stage(widths[0], widths[1], blocks, 2, shortcut)
        self.layer3 = _stage(widths[1], widths[2], blocks, 2, shortcut)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features of the last stage."""
        x = F.relu(self.bn1(self.conv1(x)))
        return cast(Tensor, self.layer3(self.layer2(self.layer1(x))))


def _stage(
    inputs: int, outputs: int, blocks: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, shortcut)
    rest = [BasicBlock(outputs, outputs, 1, shortcut) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class PooledLinear(nn.Module):
    """A classification head: mean over the map, then one linear layer; returns logits."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (N, classes) for features (N, `features`, H, W)."""
        return cast(Tensor, self.fc(x.mean((2, 3))))


def resnet20(width: float = 1.0, shortcut: Shortcut = "A") -> ResNetCifar:
    """Returns a ResNet-20 backbone with 16, 32 and 64 channels, each times `width`.

    Raises ValueError when a width is not a whole number of channels.
    """
    first, second, third = (width * channels for channels in (16, 32, 64))
    if first < 1 or first != int(first):
        raise ValueError(f"resnet20: width {width:g} gives {first:g} channels, not a whole number")
    return ResNetCifar((int(first), int(second), int(third)), 3, shortcut)
