"""Eight small networks, one per idiom, whose programs fit on a screen: see test_goldens.

Their numbers are such that what is computed of them is exact on every machine: small multiples of
an eighth, variances of 1 and 4 and no epsilon.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import igc
from igc.models.cross_stitch import CrossStitchUnit

OPEN = {"seg": [1.0, -1, 1, 1, -1, -1], "depth": [-1.0, -1, 1, -1, 1, -1]}


class Gated(nn.Module):
    """What `igc.gate` gates: one layer that two tasks share in part, and a wide one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(4, 6, bias=False), nn.Linear(6, 64, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.relu(self.layer(x)))
        return y.amax(1)


class Masked(nn.Module):
    """Two convolutions with norms and a mask over what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.shared = (nn.Conv2d(3, 6, 3, bias=False) for _ in "ab")
        self.norm, self.other = (nn.BatchNorm2d(6, eps=0.0) for _ in "ab")
        self.register_buffer("mask", torch.tensor([1.0, 0, 1, 1, 0, 0])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        own, shared = self.norm(self.own(x)), self.other(self.shared(x))
        return torch.relu(self.mask * own + (1 - self.mask) * shared)


class Stitched(nn.Module):
    """A cross-stitch unit: what each task keeps, takes over whole, and takes a part of."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(3, 4, 3, bias=False) for _ in "ab")
        self.unit = CrossStitchUnit(2, 4, 0.5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seg, depth = self.unit([self.a(x), self.b(x)])
        return {"seg": torch.relu(seg), "depth": depth}


class Tokens(nn.Module):
    """Features along the last axis, as transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.shared = (nn.Linear(4, 6, bias=False) for _ in "ab")
        self.head = nn.Linear(6, 3, bias=False)
        self.alpha = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        gate = (torch.sigmoid(self.alpha) > 0.5).to(x.dtype)
        mixed = torch.lerp(self.shared(x), self.own(x), gate)
        y: Tensor = self.head(nn.functional.gelu(mixed))
        return y


class Stacked(nn.Module):
    """One of three features for each channel, chosen by the largest of three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 5, bias=False) for _ in "abc")
        self.choice = nn.Parameter(torch.zeros(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        weight = nn.functional.one_hot(self.choice.argmax(0), 3).T.to(x.dtype)
        stack = torch.stack([layer(x) for layer in self.layers])
        return torch.relu((stack * weight[:, None]).sum(0))


class Grouped(nn.Module):
    """A convolution in two groups, of which one task reads more and the other less."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, groups=2, bias=False)
        self.head = nn.Conv2d(6, 3, 1, bias=False)
        self.register_buffer("mask", torch.tensor([1.0, 1, 1, 0, 1, 0])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.conv(x)) * self.mask)
        return y


class Written(nn.Module):
    """Features of which another layer's overwrite some, and zeros others."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.other = (nn.Linear(4, 6, bias=False) for _ in "ab")
        self.head = nn.Linear(6, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.own(x), self.other(x)
        y[:, [1, 4]] = z[:, [0, 3]]
        y[:, -1] = 0
        found: Tensor = self.head(torch.relu(y))
        return found


class LowRank(nn.Module):
    """A weight of rank 2, larger than what it is made of, and the one row of it that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.zeros(s)) for s in ((12, 2), (2, 12)))
        self.register_buffer("mask", (torch.arange(12) == 7).float())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = nn.functional.linear(x, self.up @ self.down) * self.mask
        return y.amax(1)


def gated() -> nn.Module:
    heads = {task: nn.Identity() for task in OPEN}
    net = igc.gate(Gated(), heads, at=["layer"], example_inputs=(torch.zeros(2, 4),))
    for task, alpha in OPEN.items():
        net.gates["layer"][task].alpha.data = torch.tensor(alpha)
    return net


#: Name -> the network and the shape of its input.
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "gated": (gated, (2, 4)),
    "masked": (Masked, (2, 3, 8, 8)),
    "stitched": (Stitched, (2, 3, 8, 8)),
    "tokens": (Tokens, (2, 5, 4)),
    "stacked": (Stacked, (2, 4)),
    "grouped": (Grouped, (2, 4, 8, 8)),
    "written": (Written, (2, 4)),
    "lowrank": (LowRank, (2, 12)),
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode with simple numbers, and its input."""
    make, shape = NETS[name]
    net = make().eval()
    for key, value in net.state_dict().items():
        numbers = torch.arange(value.numel()).view(value.shape)
        if key.endswith("running_var"):
            value.copy_(4.0 ** (numbers % 2))
        elif value.is_floating_point() and not key.startswith(("gates", "mask")):
            value.copy_((numbers * 5 % 13 - 4) / 8)
    if isinstance(net, Stitched):
        net.unit.weight.data = torch.tensor(
            [[[1, 0, 0.5, 0], [0, 1, 0.5, 1]], [[0, 0, 0.5, 1], [1, 1, 0.5, 0]]]
        )
    return net, torch.zeros(shape)
