"""Layers without a gate of their own that generated networks use between gated ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing.spec import Shape


class Join(nn.Module):
    """A layer that takes several values."""

    def forward(self, *values: Tensor) -> Tensor:
        return self.join(list(values))

    def join(self, values: list[Tensor]) -> Tensor:
        """One value from several."""
        raise NotImplementedError


class Add(Join):
    """a + b."""

    def join(self, values: list[Tensor]) -> Tensor:
        return values[0] + values[1]


class Mul(Join):
    """a * b."""

    def join(self, values: list[Tensor]) -> Tensor:
        return values[0] * values[1]


class Sub(Join):
    """a - b."""

    def join(self, values: list[Tensor]) -> Tensor:
        return values[0] - values[1]


class Maximum(Join):
    """The larger of a and b."""

    def join(self, values: list[Tensor]) -> Tensor:
        return torch.maximum(values[0], values[1])


class Cat(Join):
    """Concatenation along the channels."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def join(self, values: list[Tensor]) -> Tensor:
        return torch.cat(values, dim=self.axis)


class Half(nn.Module):
    """The first or second half of the channels (`chunk`)."""

    def __init__(self, axis: int, which: int) -> None:
        super().__init__()
        self.axis, self.which = axis, which

    def forward(self, x: Tensor) -> Tensor:
        return torch.chunk(x, 2, dim=self.axis)[self.which]


class EverySecond(nn.Module):
    """Channels 0, 2, 4, ... (a strided slice)."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x[:, ::2] if self.axis == 1 else x[..., ::2]


class SplitSwap(nn.Module):
    """`split` into a third and the rest, joined again the other way round."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        third = max(1, x.shape[self.axis] // 3)
        first, rest = torch.split(x, [third, x.shape[self.axis] - third], dim=self.axis)
        return torch.cat([rest, first], dim=self.axis)


class Glu(nn.Module):
    """Gated linear unit: the first half of the channels times sigmoid of the second."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        value, switch = torch.chunk(x, 2, dim=self.axis)
        return value * torch.sigmoid(switch)


class Offset(nn.Module):
    """Adds one constant per channel, as a position embedding or a colour mean does."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        offset = torch.linspace(-1.0, 1.0, shape.width).view(shape.view())
        self.register_buffer("offset", offset)
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Coords(nn.Module):
    """Appends two channels with the row and the column (CoordConv): they never see the input."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows = torch.arange(height, dtype=x.dtype) / 8
        columns = torch.arange(width, dtype=x.dtype) / 8
        grid = torch.stack([g.expand(height, width) for g in (rows[:, None], columns[None, :])])
        return torch.cat([x, grid.expand(x.shape[0], -1, -1, -1)], dim=1)


class Upsample(nn.Module):
    """Twice the size."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        align = False if self.mode == "bilinear" else None
        return F.interpolate(x, scale_factor=2, mode=self.mode, align_corners=align)


class ChannelShuffle(nn.Module):
    """ShuffleNet's shuffle, by view and transpose."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        grouped = x.view(batch, self.groups, channels // self.groups, height, width)
        return grouped.transpose(1, 2).reshape(batch, channels, height, width)


class ToTokens(nn.Module):
    """Image to tokens: batch x channels x height x width to batch x positions x channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class Pooled(nn.Module):
    """The mean over all positions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.dims = {"volume": (2, 3, 4), "image": (2, 3), "signal": (2,), "tokens": (1,)}[kind]

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=self.dims)


class CumSum(nn.Module):
    """Running sum over the channels: no known tool may treat it as elementwise."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, dim=self.axis)


class Flip(nn.Module):
    """The channels in reverse order."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return torch.flip(x, dims=(self.axis,))


class Roll(nn.Module):
    """The channels moved on by one, the last one to the front."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return torch.roll(x, 1, dims=self.axis)


class Scale(nn.Module):
    """One learned factor per channel (layer scale)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.view = shape.view()
        self.factor = nn.Parameter(torch.ones(shape.width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor.view(self.view)


class Positions(nn.Module):
    """A learned vector added to every token (position embedding)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, shape.edge, shape.width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.position


class ClassToken(nn.Module):
    """One learned token in front of the others."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, shape.width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)


class FirstToken(nn.Module):
    """The first token alone, as a vector."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class ImagePooling(nn.Module):
    """The mean of each channel at every position, beside the channels (ASPP)."""

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return torch.cat([x, means.expand(-1, -1, x.shape[2], x.shape[3])], dim=1)
