"""Small gated networks whose costs can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 4
SIZE = 6
AREA = SIZE * SIZE
TASKS = ("seg", "depth")


class Gate(nn.Module):
    def __init__(self, opened: list[int]) -> None:
        super().__init__()
        alpha = torch.full((WIDTH,), -1.0)
        alpha[opened] = 1.0
        self.alpha = nn.Parameter(alpha)


class Mix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor([[0.0, 1.0]]).repeat(WIDTH, 1))


class Gated(nn.Module):
    """Two tasks, one gated convolution 3 -> 4 without bias, a head each on its mean.

    A branch costs 3 * 9 = 27 MACs per channel and pixel; a head 4 * 2 in all.
    """

    def __init__(self, opened: Mapping[str, list[int]], *, names: tuple[str, ...] = TASKS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.names = names
        self.psi = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        self.own = nn.ModuleList([nn.Conv2d(3, WIDTH, 3, padding=1, bias=False) for _ in names])
        self.gates = nn.ModuleDict({"conv": nn.ModuleDict({t: Gate(opened[t]) for t in names})})
        self.heads = nn.ModuleList([nn.Linear(WIDTH, 2) for _ in names])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        shared = F.relu(self.psi(x))
        found = {}
        for i, t in enumerate(self.names):
            mask = (torch.sigmoid(self.gates["conv"][t].alpha) > 0.5).view(1, -1, 1, 1)
            selected = torch.where(mask, F.relu(self.own[i](x)), shared)
            found[t] = self.heads[i](selected.mean((2, 3)))
        return found


class Plain(nn.Module):
    """Tasks that share by a mask igc knows no name for."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, WIDTH, 3), nn.Conv2d(3, WIDTH, 3)
        self.register_buffer("mask", torch.tensor([1.0, 0, 1, 0]).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a, b = self.one(x), self.two(x)
        return {"seg": (self.mask * a + (1 - self.mask) * b).mean((2, 3)), "depth": b.mean((2, 3))}


class Bottleneck(nn.Module):
    """A block of two convolutions behind one gate: the first one stays as long as one is open."""

    def __init__(self, opened: list[int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.last = nn.Conv2d(32, WIDTH, 1)
        self.shared = nn.Conv2d(3, WIDTH, 1)
        self.gates = nn.ModuleDict({"block": nn.ModuleDict({"seg": Gate(opened)})})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mask = (torch.sigmoid(self.gates["block"]["seg"].alpha) > 0.5).view(1, -1, 1, 1)
        own = self.last(F.relu(self.first(x)))
        return {"seg": torch.where(mask, own, self.shared(x)).mean((2, 3))}


def picture(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
