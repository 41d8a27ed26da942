"""Networks that compute a part of themselves in another floating type, as attention often does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from compiled import compiled
from torch import Tensor, nn

import igc

WIDE, SINGLE, HALF, BRAIN = torch.float64, torch.float32, torch.float16, torch.bfloat16


class Attending(nn.Module):
    """A gated feature, constant channels beside it, and products of them in `inner`."""

    def __init__(self, inner: torch.dtype) -> None:
        super().__init__()
        self.own, self.shared, self.out = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 6)
        self.alpha = nn.Parameter(torch.tensor([1.0, -1, 1, -1, 0, 2]))
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        gate = (torch.sigmoid(self.alpha) > 0.5).to(x.dtype)
        y = F.pad(gate * self.own(x) + (1 - gate) * self.shared(x), (0, 1), value=1.0)
        y = torch.cat([y[..., :3], torch.zeros_like(y[..., :2]), y[..., 3:]], -1)
        k = F.pad(torch.relu(y), (1, 0), value=0.3)[..., :9].to(self.inner)
        z = k.transpose(-1, -2) @ y.to(self.inner)
        return z.to(x.dtype)[..., :6] @ self.out.weight.t()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (WIDE, SINGLE),
        (SINGLE, WIDE),
        (SINGLE, HALF),
        (HALF, SINGLE),
        (BRAIN, SINGLE),
        (SINGLE, BRAIN),
    ],
    ids=str,
)
def test_known_channels_have_the_type_of_their_feature(
    outer: torch.dtype, inner: torch.dtype, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, x = Attending(inner).to(outer).eval(), torch.randn(3, 5, 4, dtype=outer)
    static = compiled(net, x).static
    assert static(x).dtype == outer
    assert igc.verify(net, static, x).passed
    igc.export_onnx(static, tmp_path / "net.onnx")
    check = igc.verify(net, tmp_path / "net.onnx", x)
    assert check.passed, str(check)


class Inside(nn.Module):
    """A layer with weights of its own type."""

    def __init__(self, inner: torch.dtype) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3, dtype=inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).to(self.second.weight.dtype)).to(x.dtype)


@pytest.mark.parametrize("inner", [WIDE, HALF, BRAIN], ids=str)
def test_a_layer_keeps_the_type_of_its_weights(inner: torch.dtype, tmp_path: Path) -> None:
    net, x = Inside(inner).eval(), torch.randn(2, 4)
    static = compiled(net, x).static
    assert {p.dtype for p in static.parameters()} == {torch.float32, inner}
    check = igc.verify(net, static, x)
    assert check.passed, str(check)
    igc.export_onnx(static, tmp_path / "net.onnx")
    check = igc.verify(net, tmp_path / "net.onnx", x)
    assert check.passed, str(check)
