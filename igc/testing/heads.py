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


@dataclass(frozen=True)
class HeadKind:
    """How a head is made, and which kinds of values it reads."""

    make: Callable[[Sequence[Shape], int], nn.Module]
    kinds: tuple[str, ...]
    many: bool = False


HEADS: dict[str, HeadKind] = {
    "classify": HeadKind(Classify, ("image", "signal", "tokens", "vector")),
    "mlp": HeadKind(Mlp, ("tokens", "vector")),
    "dense": HeadKind(Dense, ("image",)),
    "pyramid": HeadKind(Pyramid, ("image",), many=True),
    "raw": HeadKind(Raw, ("image", "signal", "tokens", "vector")),
    "embedding": HeadKind(Embedding, ("image", "signal", "tokens", "vector")),
}
