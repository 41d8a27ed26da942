"""A vector with one number per channel, shaped to multiply a feature tensor."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.fx.wrap
def per_channel(vector: Tensor, like: Tensor, axis: int) -> Tensor:
    """Returns `vector` [C] as a view that broadcasts along `axis` of `like`, e.g. [C, 1, 1].

    `axis` counts as in PyTorch: 1 for [B, C, H, W], -1 for [B, N, C]. Wrapped, so that
    `torch.fx` records one call and never asks a proxy for its number of axes.
    """
    trailing = like.dim() - 1 - axis if axis >= 0 else -1 - axis
    return vector.reshape(-1, *[1] * trailing) if trailing else vector
