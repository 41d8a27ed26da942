"""ResNet-18, 34 and 50 with output stride 32, 16 or 8 and a width multiplier.

Source: He et al., "Deep residual learning for image recognition" (2016); the bottleneck strides in
its 3x3, and the parameter names are torchvision's, so its state dicts load strictly. Smaller output
strides replace stride by dilation as in Yu et al., "Dilated residual networks" (2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from igc.errors import BadInput


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A bias-free convolution and its BatchNorm: the projection of a residual block."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut: (N, inputs, H, W) -> (N, width, H/stride, W/stride)."""

    expansion = 1

    def __init__(
        self, inputs: int, width: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, first, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, second, second, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        changes = stride != 1 or inputs != width
        self.downsample = conv_bn(inputs, width, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)) + shortcut)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut: (N, inputs, ..) -> (N, 4 x width, ..)."""

    expansion = 4

    def __init__(
        self, inputs: int, width: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilations[0], dilations[0], bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        changes = stride != 1 or inputs != outputs
        self.downsample = conv_bn(inputs, outputs, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.relu(self.bn3(self.conv3(y)) + shortcut)
        return out


class ResNet(nn.Module):
    """A ResNet: images (N, 3, H, W) to features (N, widths[-1], H/stride, W/stride).

    ``num_classes`` adds average pooling and the classifier (logits (N, num_classes)); ``scales``
    returns the list of all four stages' features instead. ``width`` multiplies every channel count,
    the stem's included. Raises ``BadInput`` for an output stride other than 32, 16 or 8.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        *,
        output_stride: int = 32,
        width: float = 1.0,
        num_classes: int | None = None,
        scales: bool = False,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise BadInput(f"ResNet: output_stride {output_stride} must be 32, 16 or 8")
        base = [round(64 * 2**k * width) for k in range(4)]
        self.conv1 = nn.Conv2d(3, base[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, reached, dilation = base[0], 4, 1
        self.strides: list[int] = []
        for k, (channels, depth) in enumerate(zip(base, depths, strict=True)):
            before, stride = dilation, 1
            if k > 0 and reached < output_stride:
                stride, reached = 2, 2 * reached
            elif k > 0:
                dilation *= 2
            self.strides.append(stride)
            # The convolution that gave up its stride still reads undilated features.
            blocks = [block(inputs, channels, stride, (before, dilation))]
            inputs = block.expansion * channels
            blocks += [block(inputs, channels, 1, (dilation, dilation)) for _ in range(1, depth)]
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
        self.widths = [block.expansion * channels for channels in base]
        self.scales = scales
        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(inputs, num_classes)
        self.num_classes = num_classes

    def stages(self) -> list[list[nn.Module]]:
        """The modules of the four stages, in the order they run; the stem opens the first."""
        stem: list[nn.Module] = [self.conv1, self.bn1, self.relu, self.maxpool]
        layers = [list(self.get_submodule(f"layer{k}").children()) for k in range(1, 5)]
        return [stem + layers[0], *layers[1:]]

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        features = []
        for stage in self.stages():
            for module in stage:
                x = module(x)
            features.append(x)
        if self.num_classes is not None:
            logits: Tensor = self.fc(self.avgpool(x).flatten(1))
            return logits
        return features if self.scales else x


def resnet18(**options: Any) -> ResNet:
    """ResNet-18: basic blocks [2, 2, 2, 2], features of 512 channels; options as ``ResNet``."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


def resnet34(**options: Any) -> ResNet:
    """ResNet-34: basic blocks [3, 4, 6, 3], features of 512 channels; options as ``ResNet``."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **options)


def resnet50(**options: Any) -> ResNet:
    """ResNet-50: bottlenecks [3, 4, 6, 3], features of 2048 channels; options as ``ResNet``."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)
