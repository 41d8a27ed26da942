"""One number per channel of an output: how large it is, how far off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Axis = int | None


def channel_axis(shapes: Sequence[Sequence[int]]) -> Axis:
    """Which axis of an output holds its channels, given its shapes at several sizes of the inputs.

    The second, or else the last one whose size is always the same; None where there is none: then
    the whole output is one channel.
    """
    ranks = {len(s) for s in shapes}
    if len(ranks) != 1 or (rank := ranks.pop()) < 2:
        return None
    return next((a for a in (1, rank - 1) if len({s[a] for s in shapes}) == 1), None)


def by_channel(values: Tensor, axis: Axis) -> Tensor:
    """The values as a row per channel."""
    if axis is None or values.ndim < 2:
        return values.reshape(1, -1)
    return values.movedim(axis, 0).flatten(1)


def largest_of(values: Tensor, axis: Axis) -> Tensor:
    """The largest finite magnitude of each channel in float64, 0 for none."""
    rows = by_channel(values, axis).double().abs()
    if not rows.numel():
        return rows.new_zeros(rows.shape[0])
    return torch.where(rows.isfinite(), rows, 0.0).amax(1)
