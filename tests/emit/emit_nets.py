"""Small networks and programs that the emit tests share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.capture import capture
from igc.program import Program
from igc.program.execute import execute


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Branches(nn.Module):
    """Two tasks that gather their channels from one concatenation, as igc compiles them."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.seg = nn.ModuleDict({"layer1": nn.Conv2d(3, 6, 3, padding=1, bias=False)})
        self.mixed = nn.Conv2d(10, 12, 3, stride=2, padding=1)
        self.dense = nn.Conv2d(14, 5, 1)
        self.label = nn.Linear(12, 4)
        self.weights = nn.Parameter(torch.rand(1, 12, 1, 1))
        self.register_buffer("picked", torch.tensor([0, 2, 3, 5, 8, 9, 10, 11, 12, 13]))
        self.register_buffer("mean", torch.rand(3, 1, 1))
        _shake(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = x - self.mean
        joined = torch.cat([self.shared(x), self.seg["layer1"](x).relu()], 1)
        mixed = self.mixed(joined.index_select(1, self.picked)) * self.weights
        seg = F.interpolate(self.dense(joined), scale_factor=2, mode="bilinear")
        return {"seg": seg, "label": self.label(mixed.relu().mean((2, 3)))}


class Tokens(nn.Module):
    """A small transformer with a class token, attention and a tied embedding of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
        self.norm = nn.LayerNorm(12)
        self.out = nn.Linear(12, 12, bias=False)
        _shake(self)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1)
        z = self.norm(y)
        q, k, v = (f(z).unflatten(2, (3, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = y + self.out(a)
        return y[:, 0], [y[:, 1:], F.gelu(y.mean(1))]


def _shake(net: nn.Module) -> None:
    """Gives norms statistics and scales that differ from the defaults."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)


def image(batch: int = 2, size: int = 16) -> Tensor:
    """A random image batch."""
    return torch.randn(batch, 3, size, size)


@cache
def _captured(make: type[nn.Module]) -> tuple[nn.Module, Program, Tensor]:
    net, x = make().eval(), image()
    return net, capture(net, (x,)), x


def branches() -> tuple[nn.Module, Program, Tensor]:
    """A copy of one `Branches` in evaluation mode, its program, and an input."""
    net, program, x = _captured(Branches)
    return copy.deepcopy(net), program, x


def tokens() -> tuple[nn.Module, Program, Tensor]:
    """A copy of one `Tokens` in evaluation mode, its program, and an input."""
    net, program, x = _captured(Tokens)
    return copy.deepcopy(net), program, x


def run(program: Program, *inputs: Tensor) -> list[Tensor]:
    """The program's outputs."""
    with torch.no_grad():
        return execute(program, inputs)
