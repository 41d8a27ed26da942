"""Tables that constants are gathered from: kept where gathering copies each row many times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import compiled
from torch import Tensor, nn

import igc


class Relative(nn.Module):
    """Attention scores with a learned number per channel and distance, as MViT has them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(2 * size - 1, 24))
        self.register_buffer("mask", (torch.arange(24) % 3 > 0).float())
        places = torch.arange(size)
        self.register_buffer("distance", places[:, None] - places[None, :] + size - 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.table[self.distance]
        y: Tensor = torch.einsum("bqc,qkc->bqk", x * self.mask, rows)
        return y


@pytest.mark.parametrize(
    ("size", "held"), [(40, 79 * 16), pytest.param(4, 4 * 4 * 16, marks=pytest.mark.slow)]
)
def test_a_table_is_held_once_where_its_rows_are_read_often(
    size: int, held: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, x = Relative(size).eval(), torch.randn(2, size, 24)
    static = compiled(net, x).static
    floating = sum(v.numel() for v in static.state_dict().values() if v.is_floating_point())
    assert floating == held
    assert igc.verify(net, static, x).passed
    assert igc.export_onnx(static, tmp_path / "net.onnx").route == "direct"
    assert igc.verify(net, tmp_path / "net.onnx", x).passed
