"""The mix: what the shared branch reads of the tasks' features (equation 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn.broadcast import per_channel

torch.fx.wrap("per_channel")


class Mix(nn.Module):
    """A per-channel convex combination of `tasks` gated features.

        psi' = sum_t softmax_t(beta)[:, t] * phi'_t        beta: [C, T], softmax over the T tasks

    `axis` is where the channels live: 1 in [B, C, H, W], -1 in [B, N, C]. beta starts at zero:
    every task weighs the same. Source: InterroGate, equation 5.
    """

    def __init__(self, channels: int, tasks: int, axis: int = 1) -> None:
        super().__init__()
        if channels < 1 or tasks < 1:
            raise BadInput(
                f"a mix needs at least one channel and one task, not {channels} and {tasks}"
            )
        self.axis = axis
        self.tasks = tasks
        self.beta = nn.Parameter(torch.zeros(channels, tasks))

    @property
    def weights(self) -> Tensor:
        """The weights [C, T]; each row sums to 1."""
        return torch.softmax(self.beta, dim=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Returns the mixed feature, shaped like each of the `tasks` tensors in `features`.

        Raises BadInput when the number of tensors is not `tasks`.
        """
        if len(features) != self.tasks:
            raise BadInput(
                f"a mix of {self.tasks} tasks takes as many features, not {len(features)}"
            )
        weights = self.weights
        mixed = per_channel(weights[:, 0], features[0], self.axis) * features[0]
        for t in range(1, self.tasks):
            mixed = mixed + per_channel(weights[:, t], features[t], self.axis) * features[t]
        return mixed

    def extra_repr(self) -> str:
        return f"{self.beta.shape[0]}, {self.tasks}, axis={self.axis}"
