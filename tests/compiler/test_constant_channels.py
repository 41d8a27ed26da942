"""Channels that never change, or that look dead by a careless measure, keep their numbers.

Others judged a channel by the standard deviation of its output, or a filter by the sum of its
weights, and lost a constant channel or a Sobel filter.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from slowness import slow_but
from torch import Tensor, nn

from igc.testing import assert_equal, assert_minimal, compile_double
from igc.testing.builder import randomise
from igc.testing.oracle import compare_outputs, in_double, kernel_elements

IMAGE = (torch.zeros(2, 3, 12, 12),)
SIZES = ((12, 12), (9, 15), (1, 7))


def fresh(net: nn.Module, seed: int = 0) -> nn.Module:
    randomise(net.modules(), torch.Generator().manual_seed(seed))
    return net.eval()


def equal_at_sizes(net: nn.Module, static: nn.Module, sizes=SIZES) -> None:
    """Equal at several image sizes: a border differs from the inside by how much of it there is."""
    reference, candidate = in_double(net), in_double(static)
    for height, width in sizes:
        x = torch.randn(3, 3, height, width, dtype=torch.float64)
        with torch.no_grad():
            compare_outputs(reference(x), candidate(x), 1e-10, f"{height}x{width}")


class Chain(nn.Module):
    """conv, norm, ReLU, second convolution; `harm` makes some channels constant."""

    def __init__(self, second: nn.Module, harm) -> None:
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            second,
        )
        fresh(self)
        with torch.no_grad():
            harm(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.norm(self.first(x))))


def _bias_only(net: Chain) -> None:
    net.first.weight[1] = 0.0
    net.first.bias[1] = 1.75
    net.norm.weight[1], net.norm.bias[1] = 0.9, 0.8


def _beta_only(net: Chain) -> None:
    net.norm.weight[[0, 4]] = 0.0
    net.norm.bias[[0, 4]] = torch.tensor([2.5, 0.4])


def _all_constant(net: Chain) -> None:
    net.norm.weight.zero_()
    net.norm.bias.uniform_(0.1, 2)


def _negative(net: Chain) -> None:  # the ReLU turns these constants into zero
    net.norm.weight[2] = 0.0
    net.norm.bias[2] = -1.5


CONSTANTS = [_bias_only, _beta_only, _all_constant, _negative]
SECOND = {
    "padded": lambda: nn.Conv2d(6, 4, 3, padding=1),
    "valid": lambda: nn.Conv2d(6, 4, 1),
    "strided": lambda: nn.Conv2d(6, 4, 5, padding=2, stride=2),
    "circular": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"),
    "grouped": lambda: nn.Conv2d(6, 4, 3, padding=1, groups=2),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6),
    "transposed": lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1),
    "padded_then_pooled": lambda: nn.Sequential(nn.AvgPool2d(3, 1, padding=1), nn.Conv2d(6, 4, 1)),
    "zero_padded": lambda: nn.Sequential(nn.ZeroPad2d(2), nn.Conv2d(6, 4, 3)),
}


@pytest.mark.parametrize("harm", CONSTANTS)
@pytest.mark.parametrize("second", slow_but(list(SECOND)[:2], SECOND))
def test_a_constant_channel_before_a_convolution(second: str, harm) -> None:
    net = Chain(SECOND[second](), harm)
    static = compile_double(net, IMAGE)
    sizes = ((12, 12), (9, 15)) if second == "circular" else SIZES
    equal_at_sizes(net, static, sizes)


def test_a_channel_that_is_exactly_zero_is_cut() -> None:
    net = Chain(SECOND["padded"](), _negative)
    static = compile_double(net, IMAGE)
    assert_equal(net, static, IMAGE)
    assert kernel_elements(static) == 5 * 3 * 9 + 4 * 5 * 9


def test_a_nearly_zero_channel_is_not_cut() -> None:
    def harm(net: Chain) -> None:
        net.norm.weight[2] = 1e-30
        net.norm.bias[2] = 1e-30
        net.second.weight[:, 2] = 1e30

    net = Chain(SECOND["padded"](), harm)
    equal_at_sizes(net, compile_double(net, IMAGE))


class Edges(nn.Module):
    """Filters whose weights sum to zero: Sobel, Laplace, differences of columns."""

    def __init__(self) -> None:
        super().__init__()
        sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
        laplace = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
        self.edges = nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False)
        self.mixed = nn.Conv2d(6, 4, 1)
        fresh(self)
        with torch.no_grad():
            self.edges.weight.copy_(
                torch.stack([sobel, sobel.t()] * 2 + [laplace, -laplace])[:, None]
            )
            self.mixed.weight -= self.mixed.weight.mean(dim=(1, 2, 3), keepdim=True)
            self.mixed.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(F.relu(self.edges(x)))


def test_filters_that_sum_to_zero_stay() -> None:
    net = Edges()
    static = compile_double(net, IMAGE)
    equal_at_sizes(net, static)
    assert kernel_elements(static) == kernel_elements(net)


class Cut(nn.Module):
    """Two tasks; weight masks cut rows, but a bias or a batch norm's beta stays behind the cut."""

    def __init__(self, keep: str) -> None:
        super().__init__()
        self.keep = keep
        self.shared, self.own = (nn.Conv2d(3, 6, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(6)
        self.heads = nn.ModuleList(nn.Conv2d(6, 2, 3, padding=1) for _ in range(2))
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0]))
        fresh(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        rows = self.mask[:, None, None, None]
        bias = self.own.bias if self.keep in ("bias", "both") else self.own.bias * self.mask
        value = F.conv2d(x, self.own.weight * rows, bias, padding=1)
        if self.keep in ("beta", "both"):
            value = self.norm(value)
        value = F.relu(value)
        return {"z": self.heads[0](value + self.shared(x)), "a": self.heads[1](value)}


@pytest.mark.parametrize("keep", ["bias", "beta", "both", "nothing"])
def test_what_stays_behind_a_cut_channel_is_still_added(keep: str) -> None:
    net = Cut(keep)
    static = compile_double(net, IMAGE)
    equal_at_sizes(net, static)
    if keep == "nothing":
        assert_minimal(net, static, IMAGE)


class Poisoned(nn.Module):
    """An inf in the row of a branch that the gate drops."""

    def __init__(self, idiom: str) -> None:
        super().__init__()
        self.shared, self.own, self.head = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 2)
        self.alpha = nn.Parameter(torch.zeros(5))
        self.idiom = idiom
        fresh(self)
        with torch.no_grad():
            self.alpha.copy_(torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        keep = self.alpha.sigmoid() > 0.5
        own, shared = self.own(x), self.shared(x)
        if self.idiom == "where":
            return self.head(torch.where(keep, own, shared))
        gate = keep.to(x.dtype)
        return self.head(gate * own + (1 - gate) * shared)


@pytest.mark.parametrize("poison", [float("inf"), float("nan")])
@pytest.mark.parametrize("idiom", ["where", "mul_add"])
def test_a_dropped_branch_does_not_poison(idiom: str, poison: float) -> None:
    """0 * inf is nan in the gated network; compiled, the dropped row is gone and so is the nan."""
    clean, net = Poisoned(idiom), Poisoned(idiom)
    with torch.no_grad():
        net.own.weight[3, 0] = poison
        net.own.bias[1] = poison
    static = compile_double(net, (torch.zeros(2, 4),))
    assert_equal(clean, static, (torch.zeros(2, 4),))
    x = torch.randn(3, 4, dtype=torch.float64)
    assert torch.isfinite(in_double(net)(x)).all() == (idiom == "where")


@pytest.mark.parametrize("kind", ["images", "tokens", "ids"])
def test_what_is_taken_from_itself_is_zero(kind: str) -> None:
    """x - x: nothing of x is needed, nor of the kernels that read it, but for their biases."""

    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first = {"images": nn.Conv2d(3, 6, 1), "tokens": nn.Linear(3, 6)}
            self.first = first.get(kind, nn.Embedding(7, 6))
            self.second = nn.Conv2d(6, 4, 1) if kind == "images" else nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            y = F.relu(self.second(y - y))
            return y.mean((2, 3)) if kind == "images" else y.mean(1)

    x = {"images": IMAGE[0].double(), "tokens": torch.randn(2, 5, 3).double()}
    inputs = (x.get(kind, torch.randint(0, 7, (2, 5))),)
    net = fresh(Nothing()).double()
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    assert kernel_elements(static) == 0
