"""Assigned items: compiled exactly, without an opaque op, and no larger than needed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.testing.judge import compile_double
from igc.testing.oracle import assert_equal, assert_minimal


def corner(x: Tensor, y: Tensor) -> None:
    x[:, 1:3] = y[:, 1:3]
    x[:, 3] = y[:, 0]
    x[:, 4:, :2, 1:] = y[:, 4:, :2, 1:] * 2


def whole(x: Tensor, y: Tensor) -> None:
    x[:] = y


def others(x: Tensor, y: Tensor) -> None:
    """Spellings that are kept as torch writes them."""
    x[:, :2] = y[:, 3:4]
    x[:, -1] = y[:, 0]
    x[:, -3:-1] = y[:, 1:3]
    x[:, :, :100] = y[:, :, :100] + x[:, :, :100]


class Assigns(nn.Module):
    def __init__(self, assign: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.assign = assign
        self.head = nn.Conv2d(6, 2, 1)
        self.register_buffer("mask", torch.tensor([1.0, 0, 1, 1, 0, 1]).reshape(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        self.assign(a, b)
        return self.head(a * self.mask)


@pytest.mark.parametrize("assign", slow_but({whole}, [corner, whole, others]))
def test_assigned_items(assign: Callable[[Tensor, Tensor], None]) -> None:
    torch.manual_seed(0)
    net, inputs = Assigns(assign).eval(), (torch.randn(2, 3, 5, 6),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs, batches=(1, 3))
    other = (torch.randn(1, 3, 9, 7),)
    assert_equal(net, static, other)
    if assign is not others:
        assert not [r for r in static.record.remarks if r.kind == "opaque"]
        assert_minimal(net, static, inputs)


def test_a_zero_channel_of_one_part_of_a_picture_is_not_one_of_the_whole() -> None:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
            self.head = nn.Conv2d(6, 2, 3)
            self.register_buffer("mask", torch.tensor([1.0, 0, 1, 0, 0, 1]).reshape(6, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.a(x) * self.mask, self.b(x)], 2))

    net, inputs = Stacked().eval(), (torch.randn(2, 3, 5, 6),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    assert_equal(net, static, (torch.randn(1, 3, 9, 7),))
    assert_minimal(net, static, inputs)


@pytest.mark.slow
def test_assigned_items_in_a_gated_network(tmp_path) -> None:  # type: ignore[no-untyped-def]
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x[:, 1:3] = x[:, 3:5] * 2
            return self.b(x)

    torch.manual_seed(0)
    heads = {task: nn.Conv2d(6, 2, 1) for task in "ab"}
    net = igc.gate(Backbone(), heads=heads, at="layer").eval()
    with torch.no_grad():
        for p in net.gate_parameters():
            p.copy_(torch.randn(p.shape))
    inputs = (torch.randn(2, 3, 6, 6),)
    static = igc.compile(net, inputs)
    assert_minimal(net, static, inputs)
    assert igc.export_onnx(static, tmp_path / "m.onnx").route == "direct"
    assert igc.verify(net, tmp_path / "m.onnx").passed
