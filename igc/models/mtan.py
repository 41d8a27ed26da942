"""MTAN: one shared encoder, in which every task attends to the features that it needs.

Source: Liu, Johns and Davison, "End-to-end multi-task learning with attention" (2019); the form for
ResNets of Vandenhende et al., "Multi-task learning for dense prediction tasks: a survey" (2021).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from igc.models.resnet import Bottleneck, ResNet


def _attention(inputs: int, outputs: int) -> nn.Sequential:
    """A mask between 0 and 1 for every channel and pixel."""
    hidden = outputs // 4
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, outputs, 1),
        nn.BatchNorm2d(outputs),
        nn.Sigmoid(),
    )


class MTAN(nn.Module):
    """Images (N, 3, H, W) to a dict task -> output.

    Of every stage, a task's mask is computed from the features before the last block (and from what
    the task attended to in the stage before), and applied to those after it. Between stages a
    bottleneck, shared by the tasks, brings the attended features to the next stage's shape.
    """

    def __init__(self, encoder: ResNet, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        widths = encoder.widths
        self.attention = nn.ModuleList(
            nn.ModuleDict(
                {task: _attention(width if k == 0 else 2 * width, width) for task in heads}
            )
            for k, width in enumerate(widths)
        )
        # A stage that halves the resolution is met by a pool; odd sizes round up as it does.
        self.refine = nn.ModuleList(
            nn.Sequential(
                Bottleneck(widths[k], widths[k + 1] // Bottleneck.expansion),
                nn.MaxPool2d(2, ceil_mode=True) if encoder.strides[k + 1] == 2 else nn.Identity(),
            )
            for k in range(len(widths) - 1)
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        attended: dict[str, Tensor] = {}
        for k, stage in enumerate(self.encoder.stages()):
            for module in stage[:-1]:
                x = module(x)
            before, x = x, stage[-1](x)
            for task, attention in self.attention[k].items():  # type: ignore[operator]
                source = before
                if k > 0:
                    refined = self.refine[k - 1](attended[task])
                    source = torch.cat([before, refined], 1)
                attended[task] = attention(source) * x
        return {task: head(attended[task]) for task, head in self.heads.items()}
