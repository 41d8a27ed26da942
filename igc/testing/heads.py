"""What the tasks return; each head is a table row in `HEADS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing.plain import Pooled
from igc.testing.spec import EDGE, Shape


class Classify(nn.Module):
    """Class scores of the mean over all positions."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        (shape,) = shapes
        self.pool = nn.Identity() if shape.kind == "vector" else Pooled(shape.kind)
        self.linear = nn.Linear(shape.width, width)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.linear(self.pool(x))
        return value


class Mlp(nn.Module):
    """Two linear layers on the last axis, every position by itself, with a layer norm first."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        (shape,) = shapes
        self.norm = nn.LayerNorm(shape.width)
        self.up, self.down = nn.Linear(shape.width, 5), nn.Linear(5, width)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return value


class Dense(nn.Module):
    """A map per pixel of the input: 1x1 convolution, resized."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shapes[0].width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = (EDGE["image"], EDGE["image"])
        return F.interpolate(self.conv(x), size=size, mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    """Levels of several sizes: lateral convolutions, resized to the first and added (FPN)."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(s.width, 4, 1) for s in shapes)
        self.smooth = nn.Conv2d(4, width, 3, padding=1)

    def forward(self, *levels: Tensor) -> Tensor:
        total: Tensor = self.lateral[0](levels[0])
        for conv, level in zip(list(self.lateral)[1:], levels[1:], strict=True):
            total = total + F.interpolate(conv(level), size=total.shape[-2:], mode="nearest")
        value: Tensor = self.smooth(F.leaky_relu(total, 0.2))
        return value


class Raw(nn.Module):
    """The features themselves: no channel of an output may be cut."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class Embedding(nn.Module):
    """Unit-length vectors: every channel is read by the norm."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        self.inner = Classify(shapes, width)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.inner(x)
        length: Tensor = torch.linalg.vector_norm(value, dim=-1, keepdim=True)
        return value / length.clamp_min(1e-6)


class Segment(nn.Module):
    """Log-probabilities per position of an image."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shapes[0].width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.conv(x), dim=1)


class Label(nn.Module):
    """The number of the best class: whole numbers, which rounding may decide."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        self.inner = Classify(shapes, width)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.inner(x)
        return scores.argmax(dim=1)


class Pair(nn.Module):
    """Scores, and the features that they come from."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        super().__init__()
        self.inner = Classify(shapes, width)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"scores": self.inner(x), "features": x}


@dataclass(frozen=True)
class HeadKind:
    """How a head is made, and which kinds of values it reads."""

    make: Callable[[Sequence[Shape], int], nn.Module]
    kinds: tuple[str, ...]
    many: bool = False


ANY = ("image", "signal", "tokens", "vector", "volume")
HEADS: dict[str, HeadKind] = {
    "classify": HeadKind(Classify, ANY),
    "mlp": HeadKind(Mlp, ("tokens", "vector")),
    "dense": HeadKind(Dense, ("image",)),
    "pyramid": HeadKind(Pyramid, ("image",), many=True),
    "raw": HeadKind(Raw, ANY),
    "embedding": HeadKind(Embedding, ANY),
    "segment": HeadKind(Segment, ("image",)),
    "label": HeadKind(Label, ANY),
    "pair": HeadKind(Pair, ANY),
}
