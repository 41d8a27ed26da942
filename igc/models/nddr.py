"""NDDR-CNN: one encoder per task, whose features are fused by 1x1 convolutions after each stage.

Source: Gao et al., "NDDR-CNN: layerwise feature fusing in multi-task CNNs by neural discriminative
dimensionality reduction" (2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from igc.models.multitask import check_tasks
from igc.models.resnet import ResNet


def _fusion(tasks: int, task: int, channels: int, own: float) -> nn.Sequential:
    """All tasks' features, concatenated, to one task's; starts near passing on its own."""
    conv = nn.Conv2d(tasks * channels, channels, 1, bias=False)
    other = (1 - own) / max(1, tasks - 1)
    eye = torch.eye(channels)
    start = torch.cat([eye * (own if k == task else other) for k in range(tasks)], 1)
    with torch.no_grad():
        conv.weight.copy_(start[:, :, None, None])
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


class NDDR(nn.Module):
    """Images (N, 3, H, W) to a dict task -> output; ``encoders`` and ``heads`` have the same keys.

    ``stages`` are the stages, from 0, after which features are fused; ``own`` is the initial weight
    of a task's own features, the others share what is left to 1.
    """

    def __init__(
        self,
        encoders: Mapping[str, ResNet],
        heads: Mapping[str, nn.Module],
        *,
        stages: Sequence[int] = (0, 1, 2, 3),
        own: float = 0.9,
    ) -> None:
        super().__init__()
        check_tasks(encoders, heads)
        self.encoders = nn.ModuleDict({task: encoders[task] for task in heads})
        self.heads = nn.ModuleDict(heads)
        count, widths = len(heads), next(iter(encoders.values())).widths
        self.fusions = nn.ModuleDict(
            {
                str(k): nn.ModuleList(_fusion(count, i, widths[k], own) for i in range(count))
                for k in stages
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        stages = [cast(ResNet, encoder).stages() for encoder in self.encoders.values()]
        features = [x] * len(stages)
        for k in range(len(stages[0])):
            for i, encoder in enumerate(stages):
                for module in encoder[k]:
                    features[i] = module(features[i])
            if str(k) in self.fusions:
                everything = torch.cat(features, 1)
                features = [fuse(everything) for fuse in self.fusions[str(k)].children()]
        return {task: self.heads[task](y) for task, y in zip(self.heads, features, strict=True)}
