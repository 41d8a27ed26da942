"""Files whose weights are products, shares and selections are certified, and tampering is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from audit_nets import certified
from torch import Tensor, nn

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

X = (torch.zeros(2, 8),)


class Net(nn.Module):
    """Four layers of one input, read by two heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(4)])
        self.heads = nn.ModuleList([nn.Linear(8, 3) for _ in range(2)])
        self.register_buffer("picks", torch.eye(8)[[1, 4, 6, 2, 0, 1, 4, 6]])
        self.register_buffer("shares", torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0]]))
        self.register_buffer("mask", (torch.arange(8).view(2, 4) % 3 == 0).float())

    def features(self, x: Tensor) -> list[Tensor]:
        return [torch.tanh(f(x)) for f in self.layers]


class Picked(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.heads[0](self.features(x)[0] @ self.picks.t())


class Mixed(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        y = torch.einsum("te,ebc->tbc", self.shares, torch.stack(self.features(x)))
        return [head(z) for head, z in zip(self.heads, y.unbind(0), strict=True)]


class TwoAxes(Net):
    def forward(self, x: Tensor) -> Tensor:
        a, b = (y.view(-1, 2, 4) for y in self.features(x)[:2])
        return self.heads[0]((self.mask * a + (1 - self.mask) * b).flatten(1))


class Shared(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        w = self.layers[0].weight
        x = torch.tanh(x)
        y = F.linear(F.linear(x, w[:6]), w[:, :6])
        return [self.heads[0](y), F.linear(y, w)]


class Updated(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        base, up, down = (self.layers[i].weight for i in range(3))
        weights = [base + up[:, :1] @ down[:1], base + up[:, 1:2] @ down[1:2]]
        return [h(torch.tanh(F.linear(x, w))) for h, w in zip(self.heads, weights, strict=True)]


@pytest.mark.parametrize("kind", [Picked, Mixed, TwoAxes, Shared, Updated])
def test_what_a_product_leaves_out_is_certified(tmp_path: Path, kind: type[Net]) -> None:
    found = certified(kind(), X, tmp_path).audit()
    assert found.passed, found.failures
