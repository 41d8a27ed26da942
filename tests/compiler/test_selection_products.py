"""Selections written as products with a constant matrix cost what is selected, and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing import assert_equal, assert_minimal, compile_double
from igc.testing.oracle import kernel_elements

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

X = (torch.zeros(2, 8),)
PICKED = torch.zeros(16, 6)
PICKED[[11, 2, 7, 0, 13, 5], range(6)] = 1.0  # six of sixteen channels, in another order
Idiom = Callable[[Tensor, Tensor], Tensor]


class Chosen(nn.Module):
    """Sixteen channels of which a product with a constant matrix leaves six."""

    def __init__(self, idiom: Idiom, matrix: Tensor = PICKED) -> None:
        super().__init__()
        self.a, self.head, self.idiom = nn.Linear(8, 16), nn.Linear(6, 3), idiom
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.idiom(torch.tanh(self.a(x)), self.matrix))


CHANNELS: dict[str, Idiom] = {
    "matmul": lambda y, m: y @ m,
    "linear": lambda y, m: F.linear(y, m.t()),
    "linear with a bias": lambda y, m: F.linear(y, m.t(), torch.arange(6).to(y)),
    "left": lambda y, m: (m.t() @ y.unsqueeze(-1)).squeeze(-1),
    "einsum": lambda y, m: torch.einsum("bc,ck->bk", y, m),
    "tensordot": lambda y, m: torch.tensordot(y, m, dims=([1], [0])),
    "convolution": lambda y, m: F.conv1d(y.unsqueeze(-1), m.t()[..., None]).squeeze(-1),
    "diagonal": lambda y, m: (y @ torch.diag(m.sum(1)))[:, [0, 2, 5, 7, 11, 13]],
}


@pytest.mark.parametrize("idiom", CHANNELS)
def test_channels_that_a_matrix_leaves_out_go(idiom: str) -> None:
    net = Chosen(CHANNELS[idiom])
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert_minimal(net, static, X)
    assert kernel_elements(static) == 6 * 8 + 3 * 6  # and the matrix is a gather


def test_a_matrix_with_two_ones_in_a_row_is_a_sum() -> None:
    matrix = PICKED.clone()
    matrix[4, 0] = 1.0
    net = Chosen(CHANNELS["matmul"], matrix)
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert sum(p.numel() for n, p in static.named_parameters() if n == "a.weight") == 7 * 8


def test_a_kernel_of_ones_that_pads_is_no_selection() -> None:
    def padded(y: Tensor, m: Tensor) -> Tensor:
        return F.conv1d(y.unsqueeze(-1), m.t()[..., None], padding=1).sum(-1)

    net = Chosen(padded)
    static = compile_double(net, X)
    assert_equal(net, static, X)


SHARES = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0]])
ONE_OF = F.one_hot(torch.tensor([[0, 1, 1, 3] * 2, [3] * 8, [1, 0] * 4]), 4).permute(0, 2, 1)


class Experts(nn.Module):
    """Four experts that three tasks read through a constant matrix."""

    def __init__(self, mix: Callable[[list[Tensor]], list[Tensor]]) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(8, 8) for _ in range(4)])
        self.heads, self.mix = nn.ModuleList([nn.Linear(8, 3) for _ in range(3)]), mix

    def forward(self, x: Tensor) -> list[Tensor]:
        mixed = self.mix([torch.tanh(e(x)) for e in self.experts])
        return [h(y) for h, y in zip(self.heads, mixed, strict=True)]


def _each(y: Tensor, axis: int = 0) -> list[Tensor]:
    return list(y.unbind(axis))


MIXES: dict[str, Callable[[list[Tensor]], list[Tensor]]] = {
    "matmul": lambda y: _each(SHARES.to(y[0]) @ torch.stack(y, 1), 1),
    "matmul behind": lambda y: _each(torch.stack(y, -1) @ SHARES.t().to(y[0]), -1),
    "linear": lambda y: _each(F.linear(torch.stack(y, -1), SHARES.to(y[0])), -1),
    "einsum": lambda y: _each(torch.einsum("te,ebc->tbc", SHARES.to(y[0]), torch.stack(y))),
    "tensordot": lambda y: _each(torch.tensordot(SHARES.to(y[0]), torch.stack(y), 1)),
    "flat": lambda y: _each((SHARES.to(y[0]) @ torch.stack(y).flatten(1)).unflatten(1, (-1, 8))),
    "bmm": lambda y: _each(
        torch.bmm(SHARES.to(y[0]).expand(y[0].shape[0], 3, 4), torch.stack(y, 1)), 1
    ),
    "vectors": lambda y: [torch.stack(y, -1) @ row.to(y[0]) for row in SHARES],
    "product and sum": lambda y: _each(
        (SHARES.to(y[0])[:, :, None] * torch.stack(y, 1)[:, None]).sum(2), 1
    ),
    "per channel": lambda y: _each(
        torch.einsum("tec,bec->btc", ONE_OF.to(y[0]), torch.stack(y, 1)), 1
    ),
    "per channel, experts first": lambda y: _each(
        torch.einsum("tec,ebc->tbc", ONE_OF.to(y[0]), torch.stack(y))
    ),
}


@pytest.mark.parametrize("mix", MIXES)
def test_experts_that_no_task_takes_go(mix: str) -> None:
    net = Experts(MIXES[mix])
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert_minimal(net, static, X)
