"""A gate at sigmoid = 0.5 exactly is closed, and what float32 decided is what is compiled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import igc
from igc.testing import assert_equal, assert_minimal, compile_double, kernel_elements
from igc.testing.builder import randomise

X = (torch.randn(2, 4, generator=torch.Generator().manual_seed(0)),)
SAY = {
    "strict": lambda a: torch.sigmoid(a) > 0.5,
    "not below": lambda a: torch.sigmoid(a) >= 0.5,
    "sign": lambda a: a > 0,
    "round": lambda a: torch.sigmoid(a).round() > 0,  # rounds half to even: 0.5 becomes 0
    "heaviside": lambda a: torch.heaviside(a, torch.zeros((), dtype=a.dtype)) > 0,
    "two-way softmax": lambda a: torch.stack([a, torch.zeros_like(a)]).softmax(0)[0] > 0.5,
    "ge by clamp": lambda a: a.clamp(0, 1).ceil() > 0,
}
ALPHA = [0.0, -0.0, 1.0, -1.0, 200.0, -200.0]
# How many of these gates are open.
OPEN = {"strict": 2, "not below": 4, "sign": 2, "round": 2, "heaviside": 2, "two-way softmax": 2}


class Net(nn.Module):
    def __init__(self, say, alpha) -> None:
        super().__init__()
        self.say = say
        width = len(alpha)
        self.shared, self.own = nn.Linear(4, width), nn.Linear(4, width)
        self.head = nn.Linear(width, 2)
        self.alpha = nn.Parameter(torch.zeros(width))
        randomise(self.modules(), torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.alpha.copy_(torch.tensor(alpha))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.where(self.say(self.alpha), self.own(x), self.shared(x)))


@pytest.mark.parametrize("say", SAY)
def test_exactly_half_is_decided_as_the_network_decides(say: str) -> None:
    net = Net(SAY[say], ALPHA)
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert_minimal(net, static, X)
    opened = OPEN.get(say, 2)
    assert kernel_elements(static) == opened * 4 + (len(ALPHA) - opened) * 4 + 2 * len(ALPHA)


def test_a_float32_gate_is_not_decided_again_in_float64() -> None:
    """sigmoid(1e-9) is 0.5 in float32 (closed) and above 0.5 in float64 (open)."""
    net = Net(SAY["strict"], [1e-9, 1.0, -1.0, 1e-9])
    assert not (torch.sigmoid(net.alpha[0]) > 0.5)
    static = igc.compile(net, X)
    with torch.no_grad():
        torch.testing.assert_close(static(*X), net(*X), rtol=1e-5, atol=1e-6)
        closed = Net(SAY["strict"], [-1.0, 1.0, -1.0, -1.0])
        x = X[0].double()
        torch.testing.assert_close(static.double()(x), closed.double()(x), rtol=1e-6, atol=1e-7)


def test_a_mix_weight_that_underflows_to_zero_reads_nothing() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)
            self.beta = nn.Parameter(torch.zeros(6, 2))
            randomise(self.modules(), torch.Generator().manual_seed(0))
            with torch.no_grad():
                self.beta[0] = torch.tensor([2000.0, -2000.0])
                self.beta[3] = torch.tensor([float("-inf"), 0.0])
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            share = self.beta.softmax(dim=1)
            return self.head(share[:, 0] * self.a(x) + share[:, 1] * self.b(x))

    net = Mixed()
    static = compile_double(net, X)
    assert_equal(net, static, X)
    assert_minimal(net, static, X)
    assert kernel_elements(static) == 2 * (5 * 4) + 2 * 6
