"""VGG-16: thirteen 3x3 convolutions and three linears.

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition"
(2015), configuration D; parameter names are torchvision's, so its state dicts load strictly.
"""

from __future__ import annotations

from torch import Tensor, nn

#: Channels of the convolutions; 0 is a 2x2 max pool.
LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


class VGG16(nn.Module):
    """Images (N, 3, 224, 224) to logits (N, num_classes); other sizes are pooled to 7x7 first.

    ``width`` multiplies the channel counts of the convolutions, ``hidden`` is that of the linears.
    """

    def __init__(self, num_classes: int = 1000, *, width: float = 1.0, hidden: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for channels in LAYERS:
            if channels == 0:
                layers.append(nn.MaxPool2d(2))
            else:
                outputs = round(channels * width)
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(7 * 7 * inputs, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits
