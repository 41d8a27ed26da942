"""What a counter of modules misses: functional linears and the products inside attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.counting import count


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(7, 5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Attend(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class ByHand(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v


def test_a_functional_linear_costs_what_its_module_costs() -> None:
    x = torch.randn(3, 5)
    assert count(Functional(), x).macs == 3 * 5 * 7
    assert count(nn.Linear(5, 7), x).macs == 3 * 5 * 7


def test_the_products_of_attention_are_counted() -> None:
    batch, heads, queries, keys, depth = 2, 3, 4, 6, 8
    q = torch.randn(batch, heads, queries, depth)
    k, v = (torch.randn(batch, heads, keys, depth) for _ in range(2))
    expected = batch * heads * (queries * keys * depth + queries * keys * depth)
    assert count(Attend(), q, k, v).macs == expected
    assert count(ByHand(), q, k, v).macs == expected


def test_one_multiply_add_is_two_flops() -> None:
    cost = count(nn.Conv2d(3, 4, 3, padding=1), torch.randn(1, 3, 5, 6))
    assert cost.macs == 4 * 3 * 9 * 5 * 6
    assert cost.flops == 2 * cost.macs
