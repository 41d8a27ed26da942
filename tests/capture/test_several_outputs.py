"""Operations with several outputs are told as those with one, which have rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from compiled import compiled
from torch import Tensor, nn

import igc

MASK = torch.tensor([1.0, 0, 1, 1, 0, 1])


def standardised(x: Tensor, unbiased: bool) -> Tensor:
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, unbiased=unbiased)
    return (x - mean) * (variance + 0.1).rsqrt()


def corrected(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=2, correction=2)
    return x * (mean - variance).unsqueeze(2)


CUT: dict[str, Callable[[Tensor], Tensor]] = {
    "largest": lambda x: x * x.max(dim=2, keepdim=True)[0],
    "smallest": lambda x: x - x.min(3).values.unsqueeze(3),
    "variance": lambda x: standardised(x, True),
    "population variance": lambda x: standardised(x, False),
    "correction": corrected,
}


class Net(nn.Module):
    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.part = part
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
        self.register_buffer("mask", MASK.view(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.part(self.first(x)) * self.mask)
        return y


@pytest.mark.parametrize("name", CUT)
def test_channels_are_cut_through_them(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Net(CUT[name]).eval(), torch.randn(2, 3, 7, 6)
    made = compiled(net, (x,))
    assert not [r for r in made.record.remarks if r.kind == "opaque"]
    assert (4, 3, 3, 3) in {tuple(v.shape) for v in made.static.state_dict().values()}
    assert igc.verify(net, made, x).passed
    route = igc.export_onnx(made.static, tmp_path / "net.onnx").route
    assert route == "direct"
    assert igc.verify(net, tmp_path / "net.onnx", x).passed


def test_the_places_of_extremes_are_kept_where_they_are_read() -> None:
    net = Net(lambda x: x * x.max(2, keepdim=True)[1]).eval()
    x = torch.randn(2, 3, 7, 6)
    static = compiled(net, x).static
    assert igc.verify(net, static, x).passed
