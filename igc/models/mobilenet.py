"""MobileNetV2: inverted residual blocks around depthwise convolutions.

Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018), table 2;
parameter names are torchvision's, so its state dicts load strictly.
"""

from __future__ import annotations

from torch import Tensor, nn

from igc.errors import BadInput

#: Expansion, channels, blocks, stride of each row of the paper's table.
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def round_to_8(channels: float) -> int:
    """The multiple of 8 nearest to a channel count, at least 8, never more than 10 % below it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv_bn_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where shapes agree."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, expansion: int, dilation: int = 1
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [_conv_bn_relu(inputs, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _conv_bn_relu(hidden, hidden, 3, stride, groups=hidden, dilation=dilation),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Images (N, 3, H, W) to features (N, outputs, H/stride, W/stride), outputs 1280 by default.

    ``num_classes`` adds average pooling and the classifier (logits (N, num_classes)). ``width``
    multiplies the channel counts, rounded to 8. Output strides below 32 dilate instead, with the
    convolution that gave up its stride reading undilated features as in ``igc.models.resnet``.
    Raises ``BadInput`` for an output stride other than 32, 16 or 8.
    """

    def __init__(
        self, *, width: float = 1.0, output_stride: int = 32, num_classes: int | None = None
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise BadInput(f"MobileNetV2: output_stride {output_stride} must be 32, 16 or 8")
        inputs, reached, dilation = round_to_8(32 * width), 2, 1
        features: list[nn.Module] = [_conv_bn_relu(3, inputs, 3, 2)]
        for expansion, channels, count, step in ROWS:
            outputs = round_to_8(channels * width)
            for index in range(count):
                stride, rate = 1, dilation
                if index == 0 and step == 2 and reached < output_stride:
                    stride, reached = 2, 2 * reached
                elif index == 0 and step == 2:
                    dilation *= 2
                features.append(InvertedResidual(inputs, outputs, stride, expansion, rate))
                inputs = outputs
        self.outputs = round_to_8(1280 * max(1.0, width))
        self.features = nn.Sequential(*features, _conv_bn_relu(inputs, self.outputs, 1))
        self.classifier = None
        if num_classes is not None:
            linear = nn.Linear(self.outputs, num_classes)
            self.classifier = nn.Sequential(nn.Dropout(0.2), linear)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return x if self.classifier is None else self.classifier(x.mean((2, 3)))


def mobilenet_v2(
    *, width: float = 1.0, output_stride: int = 32, num_classes: int | None = None
) -> MobileNetV2:
    """MobileNetV2 as published: 3.5 million parameters with the classifier of ImageNet."""
    return MobileNetV2(width=width, output_stride=output_stride, num_classes=num_classes)
