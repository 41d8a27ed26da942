"""one_hot is written out as a comparison, so that what follows it can be cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from compiled import compiled
from torch import Tensor, nn

import igc
from igc.capture import capture


class Places(nn.Module):
    """A table of positions read by one-hot products; two of its columns are cut off later."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(70, 6))
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.register_buffer("mask", torch.tensor([1.0, 1, 0, 1, 0, 1]))
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x).flatten(2).mT
        count = torch.arange(x.shape[-1] * x.shape[-2]).clamp(0, 69)
        places = F.one_hot(count, 70).to(features.dtype) @ self.table
        y: Tensor = self.out((features + places) * self.mask)
        return y


@pytest.mark.slow
def test_a_table_read_by_one_hot_is_cut(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Places().eval(), torch.randn(2, 3, 8, 8)
    assert "aten.one_hot.default" not in {str(n.target) for n in capture(net, x).graph.nodes}
    made = compiled(net, (x,))
    assert not [r for r in made.record.remarks if r.kind == "opaque"]
    assert (70, 4) in {tuple(v.shape) for v in made.program.constants.values()}
    assert igc.verify(net, made, x).passed
    assert igc.export_onnx(made.static, tmp_path / "net.onnx").route == "direct"
    assert igc.verify(net, tmp_path / "net.onnx", x).passed


def test_one_hot_equals_torch_s() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.one_hot(x.argmax(1), 5)

    x = torch.randn(3, 5, 4)
    static = igc.compile(Net(), (x,))
    assert torch.equal(static(x), F.one_hot(x.argmax(1), 5))
    assert static(x).dtype == torch.int64
