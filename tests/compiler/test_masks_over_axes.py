"""Masks over several axes at once: told along the axis that a reshape nearby has for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from igc.capture import capture
from igc.capture.merged_axes import with_merged_axes
from igc.passes import Record
from igc.passes.fold import FoldConstants
from igc.program.schema import operation
from igc.testing import assert_equal, assert_minimal, compile_double

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

OUTER = torch.tensor([1.0, 0, 1, 0])[:, None] * (torch.arange(8) % 2)
RAGGED = (torch.rand(4, 8, generator=torch.Generator().manual_seed(3)) < 0.5).float()
Mix = Callable[[Tensor, Tensor, Tensor], Tensor]

MIXES: dict[str, Mix] = {
    "sum": lambda m, a, b: m * a + (1 - m) * b,
    "difference": lambda m, a, b: b + m * (a - b),
    "where": lambda m, a, b: torch.where(m > 0, a, b),
    "lerp": lambda m, a, b: torch.lerp(b, a, m),
    "filled": lambda m, a, b: a.masked_fill(m == 0, 0.0) + b.masked_fill(m > 0, 0.0),
    "behind": lambda m, a, b: torch.tanh(a) * m + torch.relu(b) * (1 - m),
}


class Vectors(nn.Module):
    """Two features seen as [4, 8], and mixed there."""

    def __init__(self, mix: Mix, mask: Tensor) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 32), nn.Linear(8, 32), nn.Linear(32, 3)
        self.mix = mix
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        a, b = (f(x).view(-1, 4, 8) for f in (self.a, self.b))
        return self.head(torch.tanh(self.mix(self.mask, a, b)).flatten(1))


class Tokens(Vectors):
    """The same with heads before the tokens, as attention has them."""

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        a, b = (f(x).view(n, t, 4, 8).transpose(1, 2) for f in (self.a, self.b))
        y = torch.tanh(self.mix(self.mask[:, None], a, b))
        return self.head(y.transpose(1, 2).reshape(n, t, 32))


@pytest.mark.parametrize("mask", [OUTER, RAGGED], ids=["outer", "ragged"])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("kind", [Vectors, Tokens])
def test_features_that_a_mask_over_two_axes_drops_go(kind, mix: str, mask: Tensor) -> None:
    net = kind(MIXES[mix], mask)
    inputs = (torch.zeros(2, 5, 8) if kind is Tokens else torch.zeros(2, 8),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    assert_minimal(net, static, inputs)


def test_the_reshapes_on_both_sides_meet_and_are_none() -> None:
    program = capture(Tokens(MIXES["sum"], RAGGED), (torch.zeros(2, 5, 8),))
    folded = FoldConstants()(program, Record())
    ops = {operation(n) for n in folded.graph.nodes if n.op == "call_function"}
    assert ops == {
        f"aten.{op}" for op in ("linear.default", "mul.Tensor", "add.Tensor", "tanh.default")
    }


class Squeezed(Vectors):
    """What is mixed is scaled by a number per head that the input decides."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = (f(x).view(-1, 4, 8) for f in (self.a, self.b))
        scale = torch.sigmoid(a.mean(2, keepdim=True))
        return self.head((self.mix(self.mask, a, b) * scale).flatten(1))


def test_what_is_repeated_along_a_part_of_the_axis_leaves_the_ops_where_they_are() -> None:
    net, inputs = Squeezed(MIXES["sum"], RAGGED), (torch.zeros(2, 8),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)


def test_a_mask_with_no_reshape_nearby_stays() -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.register_buffer("mask", RAGGED)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.mask

    program = capture(Maps(), (torch.zeros(2, 3, 4, 8),))
    assert with_merged_axes(program) is program
