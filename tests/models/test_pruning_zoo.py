"""Tiny networks of the kinds that pruning tools test themselves on: gated, compiled, compared.

The kinds are those of torch-pruning's own tests (concatenation and split, flatten, unsqueeze,
free parameters, layers of one's own, several inputs and outputs, groups, LSTM, pixel shuffle and
so on); the networks are written anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.testing.oracle import assert_equal, assert_minimal

Forward = Callable[..., Any]


class Net(nn.Module):
    """Modules by name, and a forward that reads them from `self`."""

    def __init__(self, forward: Forward, **modules: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, module in modules.items():
            self.add_module(name, module)


class One(Net):
    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


class Two(Net):
    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.body(self, x, y)


class Scale(nn.Module):
    """A layer of one's own: a factor and a bias per channel, in free parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(channels))
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.factor + self.bias) * torch.sigmoid(x)


class Free(nn.Module):
    """Parameters that belong to no layer: a token, positions, a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 10, 8))
        self.matrix = nn.Parameter(torch.randn(8, 6))
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.last = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.last(torch.tanh(x @ self.matrix).mean(1))


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def concat_split(s: Any, x: Tensor) -> Tensor:
    x = torch.cat([s.a(x), s.b(x), x], 1)
    left, middle, right = torch.split(torch.relu(x), [5, 3, 3], 1)
    return s.last(torch.cat([s.c(middle), left, right * 2], 1))


def chunked(s: Any, x: Tensor) -> Tensor:
    x, gate = s.a(x).chunk(2, dim=1)
    return s.last(x * torch.sigmoid(gate))


def flattened(s: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(s.norm(s.a(x)).relu(), 2)
    return s.last(s.b(torch.flatten(x, 1)).relu())


def unsqueezed(s: Any, x: Tensor) -> Tensor:
    weights = s.b(s.a(x).mean((2, 3))).unsqueeze(-1).unsqueeze(-1)
    return s.last(s.a(x) * weights.sigmoid())


def shuffled(s: Any, x: Tensor) -> Tensor:
    x = F.pixel_shuffle(s.a(x), 2)
    return s.last(F.pixel_unshuffle(s.b(x).relu(), 2))


def grouped(s: Any, x: Tensor) -> Tensor:
    return s.last(s.norm(s.depthwise(s.b(s.a(x).relu()))).relu())


def recurrent(s: Any, x: Tensor) -> Tensor:
    x, _ = s.lstm(s.a(x).flatten(2).transpose(1, 2))
    return s.last(x[:, -1])


def attending(s: Any, x: Tensor) -> Tensor:
    x = s.norm(s.a(x).flatten(2).transpose(1, 2))
    q, k, v = s.qkv(x).reshape(x.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    x = x + s.b(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    return s.last(F.gelu(s.c(x)))


def resized(s: Any, x: Tensor) -> Tensor:
    low = s.b(F.avg_pool2d(s.a(x), 2))
    up = F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    return s.last(s.up(low) + s.c(up) + s.a(x))


def several(s: Any, x: Tensor) -> dict[str, Any]:
    x = s.a(x)
    return {"maps": s.b(x.relu()), "both": (s.c(x), x.amax((2, 3)))}


def two_inputs(s: Any, x: Tensor, y: Tensor) -> Tensor:
    return s.last(s.a(x) * s.b(y).sigmoid()[:, :, None, None] + s.c(x))


def unpooled(s: Any, x: Tensor) -> Tensor:
    """Down and up again by the places of the largest values, as SegNet does."""
    largest, places = F.max_pool2d(torch.relu(s.a(x)), 2, return_indices=True)
    return s.last(F.max_unpool2d(s.b(largest), places, 2))


def alike(s: Any, x: Tensor) -> Tensor:
    """Weighted by how alike two features are at each place."""
    a, b = s.a(x), s.b(x)
    return s.last(a * F.cosine_similarity(a, b, dim=1).unsqueeze(1))


def shared_layer(s: Any, x: Tensor) -> Tensor:
    return s.last(s.b(s.b(s.a(x)).relu()).relu())


def normed(s: Any, x: Tensor) -> Tensor:
    x = s.groups(s.a(x)).relu()
    return s.last(s.layer(s.b(x).permute(0, 2, 3, 1)).relu())


def in_place(s: Any, x: Tensor) -> Tensor:
    x = s.a(x)
    x[:, 1:3] = s.b(x)[:, :2]
    x += 1
    return s.last(F.prelu(x, s.slope.factor))


ZOO: dict[str, Callable[[], nn.Module]] = {
    "concat and split": lambda: One(
        concat_split, a=conv(3, 4), b=conv(3, 4, 1), c=conv(3, 5), last=conv(13, 4)
    ),
    "chunk": lambda: One(chunked, a=conv(3, 12), last=conv(6, 4)),
    "flatten": lambda: One(
        flattened, a=conv(3, 4), norm=nn.BatchNorm2d(4), b=nn.Linear(36, 8), last=nn.Linear(8, 4)
    ),
    "unsqueeze": lambda: One(unsqueezed, a=conv(3, 6), b=nn.Linear(6, 6), last=conv(6, 4)),
    "pixel shuffle": lambda: One(shuffled, a=conv(3, 8), b=conv(2, 3), last=conv(12, 4)),
    "groups": lambda: One(
        grouped, a=conv(3, 8), b=conv(8, 8, groups=2), norm=nn.BatchNorm2d(16),
        depthwise=conv(8, 16, groups=8), last=conv(16, 4, 1),
    ),
    "lstm": lambda: One(
        recurrent, a=conv(3, 6), lstm=nn.LSTM(6, 5, 2, batch_first=True), last=nn.Linear(5, 4)
    ),
    "attention": lambda: One(
        attending, a=conv(3, 8), norm=nn.LayerNorm(8), qkv=nn.Linear(8, 24), b=nn.Linear(8, 8),
        c=nn.Linear(8, 12), last=nn.Linear(12, 4),
    ),
    "resize": lambda: One(
        resized, a=conv(3, 5), b=conv(5, 6), c=conv(6, 5), last=conv(5, 4),
        up=nn.ConvTranspose2d(6, 5, 2, 2),
    ),
    "several outputs": lambda: One(several, a=conv(3, 6), b=conv(6, 4), c=conv(6, 5)),
    "two inputs": lambda: Two(
        two_inputs, a=conv(3, 6), b=nn.Linear(4, 6), c=conv(3, 6, bias=False), last=conv(6, 4)
    ),
    "unpooled": lambda: One(unpooled, a=conv(3, 6), b=conv(6, 6), last=conv(6, 4)),
    "alike": lambda: One(alike, a=conv(3, 6), b=conv(3, 6), last=conv(6, 4)),
    "shared layer": lambda: One(shared_layer, a=conv(3, 6), b=conv(6, 6), last=conv(6, 4)),
    "group and layer norm": lambda: One(
        normed, a=conv(3, 6), groups=nn.GroupNorm(3, 6), b=conv(6, 5), layer=nn.LayerNorm(5),
        last=nn.Linear(5, 4),
    ),
    "own layer": lambda: nn.Sequential(nn.Linear(6, 7), Scale(7), nn.Linear(7, 4)),
    "free parameters": Free,
    "in place": lambda: One(
        in_place, a=conv(3, 6), b=conv(6, 4), slope=Scale(6), last=conv(6, 4)
    ),
}  # fmt: skip
# Groups keep equal widths; a layer used twice is cut once for each use; an LSTM is kept whole.
# A token and its position are added up once and for all, which the gradient does not know.
NOT_THE_MINIMUM = {"groups", "group and layer norm", "shared layer", "lstm", "free parameters"}


class Pass(nn.Module):
    def forward(self, features: Any) -> Any:
        return features


@pytest.mark.parametrize("name", slow_but({"unsqueeze", "own layer"}, ZOO))
def test_gated_compiled_and_equal(name: str) -> None:
    torch.manual_seed(0)
    backbone = ZOO[name]()
    x = torch.randn(2, 6) if name == "own layer" else torch.randn(2, 3, 6, 6)
    inputs = (x, torch.randn(2, 4)) if name == "two inputs" else (x,)
    net = igc.gate(backbone, {"a": Pass(), "b": Pass()}, at="layer", example_inputs=inputs)
    net.double().eval()
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn_like(value) / 2)
            if key.endswith("running_var"):
                value.abs_().add_(0.5)
    exact = tuple(x.double() for x in inputs)
    static = igc.compile(net, exact)
    assert_equal(net, static, exact)
    if name not in NOT_THE_MINIMUM:
        assert_minimal(net, static, exact, draws=3)
