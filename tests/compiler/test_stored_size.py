"""A static network is never larger than its checkpoint: what is computed stays so, or is shared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing import assert_equal, assert_minimal, compile_double
from igc.testing.oracle import kernel_elements

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

D, RANK = 24, 2
X = (torch.zeros(2, D),)


def numbers(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / D**0.5)


class Weights(nn.Module):
    """Three tasks whose weights are made of smaller tensors, or of one that they share."""

    def __init__(self, weight: Callable[[Weights, int], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.base = weight, numbers(D, D)
        self.up = nn.ParameterList([numbers(D, RANK) for _ in range(3)])
        self.down = nn.ParameterList([numbers(RANK, D) for _ in range(3)])
        self.scale = nn.ParameterList([numbers(D) for _ in range(3)])
        self.heads = nn.ModuleList([nn.Linear(D, 2) for _ in range(3)])
        self.register_buffer("codes", torch.randint(-127, 128, (D, D), dtype=torch.int8))

    def forward(self, x: Tensor) -> list[Tensor]:
        weights = [self.weight(self, i) for i in range(3)]
        return [h(torch.tanh(F.linear(x, w))) for h, w in zip(self.heads, weights, strict=True)]


WEIGHTS: dict[str, Callable[[Weights, int], Tensor]] = {
    "low rank": lambda n, i: n.up[i] @ n.down[i],
    "low rank, einsum": lambda n, i: torch.einsum("or,ri->oi", n.up[i], n.down[i]),
    "update": lambda n, i: n.base + n.up[i] @ n.down[i],
    "scaled update": lambda n, i: n.base + 0.5 * (n.up[i] @ n.down[i]),
    "outer": lambda n, i: n.scale[i][:, None] * n.scale[i - 1][None, :],
    "modulated": lambda n, i: n.base * n.scale[i],
    "codes": lambda n, i: n.codes.to(n.base.dtype) * n.scale[i][:, None],
    "tied": lambda n, i: n.base if i else n.base.t(),
}


def held(module: nn.Module) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_what_weights_are_made_of_is_what_is_stored(kind: str) -> None:
    net = Weights(WEIGHTS[kind]).double()
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert held(static) <= held(net)
    if kind not in ("outer", "codes"):  # scales of [D, 1] count as kernels, those of [D] do not
        assert_minimal(net, static, X)


def test_one_update_alone_becomes_part_of_its_weight() -> None:
    """Nothing else reads the base: folded, it is smaller than base, up and down together."""

    class Single(Weights):
        def forward(self, x: Tensor) -> Tensor:
            return self.heads[0](torch.tanh(F.linear(x, self.base + self.up[0] @ self.down[0])))

    net = Single(WEIGHTS["update"])
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert kernel_elements(static) == D * D + 2 * D


def test_a_product_is_folded_where_slicing_makes_it_small() -> None:
    class Masked(Weights):
        def forward(self, x: Tensor) -> Tensor:
            mask = (torch.arange(D) < 2).to(x.dtype)
            return F.linear(x, self.up[0] @ self.down[0]) * mask

    net = Masked(WEIGHTS["low rank"])
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert kernel_elements(static) <= 2 * D


class Repeated(nn.Module):
    """One block that is used several times, under another mask each time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.widen, self.narrow = nn.Linear(8, 16), nn.Linear(16, 64), nn.Linear(64, 16)
        self.head = nn.Linear(16, 3)
        self.register_buffer("masks", (torch.rand(4, 64) < 0.9).float())

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for mask in self.masks:
            x = x + self.narrow(torch.tanh(self.widen(x)) * mask)
        return self.head(x)


def test_a_block_that_is_used_often_is_stored_once() -> None:
    net, inputs = Repeated(), (torch.zeros(2, 8),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    assert_minimal(net, static, inputs)
    assert sum(p.numel() for p in static.parameters()) <= sum(p.numel() for p in net.parameters())


class Slimmable(nn.Module):
    """Two widths of the same kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = numbers(16, 3, 3, 3), numbers(16, 16, 3, 3)
        self.bias = numbers(16)
        self.heads = nn.ModuleList([nn.Conv2d(k, 2, 1) for k in (6, 12)])

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for k, head in zip((6, 12), self.heads, strict=True):
            y = torch.relu(F.conv2d(x, self.first[:k], self.bias[:k], padding=1))
            found.append(head(torch.relu(F.conv2d(y, self.second[:k, :k], padding=1))))
        return found


def test_widths_of_a_slimmable_kernel_are_parts_of_one() -> None:
    net, inputs = Slimmable(), (torch.zeros(2, 3, 6, 6),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    assert_minimal(net, static, inputs)
    assert kernel_elements(static) == 12 * 27 + 12 * 12 * 9 + 2 * 6 + 2 * 12


def test_parts_that_hardly_overlap_are_stored_apart() -> None:
    """One part that holds both would be larger than they are."""

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.inputs = (
                nn.Linear(16, 16),
                nn.ModuleList([nn.Linear(8, 16) for _ in "ab"]),
            )

        def forward(self, x: Tensor) -> list[Tensor]:
            a = self.layer(F.pad(self.inputs[0](x)[:, :8], (0, 8)))[:, :8]
            b = self.layer(F.pad(self.inputs[1](x)[:, 8:], (8, 0)))[:, 8:]
            return [a, b]

    net, inputs = Apart(), (torch.zeros(2, 8),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    assert kernel_elements(static) == 2 * (8 * 8 + 8 * 8)
