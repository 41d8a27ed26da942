"""Heads of attention that a mask switches off go: queries, keys, values and output columns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing import assert_equal, assert_minimal, compile_double
from igc.testing.oracle import kernel_elements

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

HEADS = torch.tensor([1.0, 0, 0, 1]).view(1, 4, 1, 1)
INSIDE = torch.tensor([1.0, 1, 0, 1])
TOKENS = (torch.zeros(2, 5, 16),)


class Attention(nn.Module):
    """Four heads of width 4, with a mask at the place `where`."""

    def __init__(self, where: str, mask: Tensor = HEADS) -> None:
        super().__init__()
        self.where = where
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in "qkvo")
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, 4, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        if "values" in self.where:
            v = v * self.mask
        if "fused" in self.where:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            p = (q @ k.transpose(2, 3) / 2).softmax(-1)
            y = (p * self.mask if "probabilities" in self.where else p) @ v
        if "context" in self.where:
            y = y * self.mask
        if "filled" in self.where:
            y = y.masked_fill(self.mask == 0, 0.0)
        return self.o(y.transpose(1, 2).reshape(b, n, 16))


@pytest.mark.parametrize(
    "where", ["probabilities", "values", "fused values", "context", "fused context", "filled"]
)
def test_a_masked_head_goes(where: str) -> None:
    net = Attention(where)
    static = compile_double(net, TOKENS)
    assert_equal(net, static, TOKENS)
    assert_minimal(net, static, TOKENS)
    assert kernel_elements(static) == 4 * (8 * 16)  # two of four heads


@pytest.mark.parametrize("where", ["context", "fused context", "filled"])
def test_a_mask_over_heads_and_inside_them_goes_along_both_axes(where: str) -> None:
    net = Attention(where, HEADS * INSIDE)
    static = compile_double(net, TOKENS)
    assert_equal(net, static, TOKENS)
    assert_minimal(net, static, TOKENS)
    assert kernel_elements(static) == 2 * (8 * 16) + 2 * (6 * 16)  # values and columns: 3 of 4


def test_values_masked_along_both_axes() -> None:
    net = Attention("values", HEADS * INSIDE)
    static = compile_double(net, TOKENS)
    assert_equal(net, static, TOKENS)
    assert_minimal(net, static, TOKENS)


class TwoTasks(nn.Module):
    """Two tasks read other heads of the same attention."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.a, self.b = (nn.Linear(16, 16) for _ in "qkvab")
        self.register_buffer("mask", torch.tensor([[1.0, 0, 0, 1], [0, 0, 1, 1]]))

    def forward(self, x: Tensor) -> list[Tensor]:
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, 4, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        p = (q @ k.transpose(2, 3)).softmax(-1)
        tasks = zip((self.a, self.b), self.mask, strict=True)
        return [o(((p * m.view(4, 1, 1)) @ v).transpose(1, 2).flatten(2)) for o, m in tasks]


def test_heads_that_some_task_reads_stay() -> None:
    net = TwoTasks()
    static = compile_double(net, TOKENS)
    assert_equal(net, static, TOKENS)
    assert_minimal(net, static, TOKENS)


def test_values_that_are_the_queries_are_not_told_zero_by_their_tokens() -> None:
    """One operand of attention three times: a zero token of it is no zero token of the result."""

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.o = nn.Linear(16, 16), nn.Linear(16, 3)
            self.register_buffer("mask", torch.tensor([1.0, 0, 1, 0, 1]).view(1, 5, 1))

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x) * self.mask
            return self.o(F.scaled_dot_product_attention(y, y, y))

    net = Same()
    static = compile_double(net, TOKENS)
    assert_equal(net, static, TOKENS)
