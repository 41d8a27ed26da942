"""Cross-stitch networks: one encoder per task, whose features are mixed linearly after each stage.

Source: Misra et al., "Cross-stitch networks for multi-task learning" (2016), with one weight per
channel and pair of tasks, as in Vandenhende et al., "Multi-task learning for dense prediction
tasks: a survey" (2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from igc.models.multitask import check_tasks
from igc.models.resnet import ResNet


class CrossStitchUnit(nn.Module):
    """T features (N, C, H, W) to T mixtures of them, channel by channel; weights (T, T, C).

    ``own`` is the initial weight of a task's own features; the others share what is left to 1.
    """

    def __init__(self, tasks: int, channels: int, own: float) -> None:
        super().__init__()
        other = (1 - own) / max(1, tasks - 1)
        start = torch.full((tasks, tasks), other).fill_diagonal_(own)
        self.weight = nn.Parameter(start[..., None].repeat(1, 1, channels))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        mixtures = []
        for i in range(len(features)):
            terms = [self.weight[i, j][:, None, None] * x for j, x in enumerate(features)]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            mixtures.append(total)
        return mixtures


class CrossStitch(nn.Module):
    """Images (N, 3, H, W) to a dict task -> output; ``encoders`` and ``heads`` have equal keys."""

    def __init__(
        self, encoders: Mapping[str, ResNet], heads: Mapping[str, nn.Module], *, own: float = 0.9
    ) -> None:
        super().__init__()
        check_tasks(encoders, heads)
        self.encoders = nn.ModuleDict({task: encoders[task] for task in heads})
        self.heads = nn.ModuleDict(heads)
        widths = next(iter(encoders.values())).widths
        self.units = nn.ModuleList(CrossStitchUnit(len(heads), width, own) for width in widths)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        stages = [cast(ResNet, encoder).stages() for encoder in self.encoders.values()]
        features = [x] * len(stages)
        for k, unit in enumerate(self.units):
            for i, encoder in enumerate(stages):
                for module in encoder[k]:
                    features[i] = module(features[i])
            features = unit(features)
        return {task: self.heads[task](y) for task, y in zip(self.heads, features, strict=True)}
