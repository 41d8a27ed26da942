"""Recurrent layers as one ONNX node each, whose weights are the network's own tensors."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from compiled import compiled
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc_cli.main import run

LAYERS = {
    "lstm": lambda: nn.LSTM(5, 4, batch_first=True),
    "lstm, both ways, two layers": lambda: nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True),
    "lstm, no bias": lambda: nn.LSTM(5, 4, bias=False),
    "gru": lambda: nn.GRU(5, 4, batch_first=True),
    "gru, both ways, two layers": lambda: nn.GRU(5, 3, 2, bidirectional=True),
    "tanh": lambda: nn.RNN(5, 4, 2, batch_first=True, bidirectional=True),
    "relu": lambda: nn.RNN(5, 4, nonlinearity="relu", bias=False),
}


class Net(nn.Module):
    """The outputs and the last states, behind a linear layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(3, 5), layer

    def forward(self, x: Tensor) -> list[Tensor]:
        out, last = self.layer(self.first(x))
        return [out, *(last if isinstance(last, tuple) else (last,))]


@pytest.mark.parametrize("name", slow_but({"relu"}, LAYERS))
def test_written_directly_and_equal(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Net(LAYERS[name]()).eval(), torch.randn(3, 6, 3)
    static = compiled(net, x).static
    info = igc.export_onnx(static, tmp_path / "net.onnx")
    assert info.route == "direct", info.reason
    check = igc.verify(net, tmp_path / "net.onnx", x)
    assert check.passed, str(check)
    kinds = [n.op_type for n in onnx.load(tmp_path / "net.onnx").graph.node]
    assert sum(kinds.count(k) for k in ("LSTM", "GRU", "RNN")) == net.layer.num_layers


@pytest.mark.slow
def test_its_tensors_are_the_checkpoint_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    igc.save(Net(LAYERS["gru"]()).eval(), tmp_path / "net.pt", torch.randn(3, 6, 3))
    out = str(tmp_path / "net.onnx")
    assert run(["compile", str(tmp_path / "net.pt"), "--out", out]) == 0
    # Its tensors are derived and its outputs compared; recurrences are not in the proof's table.
    assert run(["audit", out, "--against", str(tmp_path / "net.pt")]) == 2
    told = capsys.readouterr().out
    assert "holds for what was tried" in told
    assert "an operation that the proof does not know" in told
