"""Layers of generated networks in which features weigh features: attention in its many forms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing.plain import Join


class SqueezeExcite(nn.Module):
    """Channels scaled by a sigmoid of what their means say: it depends on the input, no gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, 3, 1)
        self.excite = nn.Conv2d(3, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.leaky_relu(self.squeeze(means), 0.2)))


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


class MultiHead(Join):
    """torch's own module, with projections of its own in one fused kernel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def join(self, values: list[Tensor]) -> Tensor:
        attended: Tensor = self.inner(*values, need_weights=False)[0]
        return attended


class TokenMixing(nn.Module):
    """A linear layer over the positions, each channel by itself (MLP-Mixer)."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.linear = nn.Linear(tokens, tokens)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.linear(x.transpose(1, 2))
        return mixed.transpose(1, 2)


class SpatialAttention(nn.Module):
    """Positions scaled by what mean and maximum over the channels say (CBAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(seen))


class EfficientAttention(nn.Module):
    """Channels scaled by a convolution over their neighbours' means (ECA)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3)).unsqueeze(1)
        return x * torch.sigmoid(self.conv(means)).transpose(1, 2).unsqueeze(-1)
