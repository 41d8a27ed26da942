"""Selections written as products with a constant matrix cost what is selected, and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing import assert_equal, assert_minimal, compile_double
from igc.testing.oracle import kernel_elements

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
