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


class SqueezeExcite(nn.Module):
    """Channels scaled by a sigmoid of what their means say: it depends on the input, no gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, 3, 1)
        self.excite = nn.Conv2d(3, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.leaky_relu(self.squeeze(means), 0.2)))


class ChannelShuffle(nn.Module):
    """ShuffleNet's shuffle, by view and transpose."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        grouped = x.view(batch, self.groups, channels // self.groups, height, width)
        return grouped.transpose(1, 2).reshape(batch, channels, height, width)


class Attention(Join):
    """Scaled dot-product attention over the tokens of q, k, v: batch x tokens x channels."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def join(self, values: list[Tensor]) -> Tensor:
        batch, tokens, width = values[0].shape
        q, k, v = (
            x.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for x in values
        )
        return self.attend(q, k, v).transpose(1, 2).reshape(batch, tokens, width)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of each head."""
        return F.scaled_dot_product_attention(q, k, v)


class AttentionByHand(Attention):
    """The same, written as two matrix products and a softmax."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of each head."""
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        attended: Tensor = scores.softmax(dim=-1) @ v
        return attended


class ToTokens(nn.Module):
    """Image to tokens: batch x channels x height x width to batch x positions x channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class Pooled(nn.Module):
    """The mean over all positions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.dims = {"image": (2, 3), "signal": (2,), "tokens": (1,)}[kind]

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
