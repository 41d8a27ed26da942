"""The smallest gated network: what checkpoint tests save and hostile files are made from."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """The smallest gated network there is: two features, one constant mask."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(4, 3)
        self.shared = nn.Linear(4, 3)
        self.alpha = nn.Parameter(torch.tensor([1.0, -1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        gate = (torch.sigmoid(self.alpha) > 0.5).to(x.dtype)
        return gate * self.own(x) + (1 - gate) * self.shared(x)

    @property
    def gates(self) -> dict[str, dict[str, nn.Module]]:
        return {"first": {"seg": self}}
