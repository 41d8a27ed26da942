"""Weight norms are folded row by row: small, certified, written directly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from audit_nets import certified
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import igc
from igc.testing import assert_minimal

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

LAYERS: dict[str, Callable[[], Any]] = {
    "convolution": lambda: parametrizations.weight_norm(nn.Conv2d(3, 8, 3)),
    "other axis": lambda: parametrizations.weight_norm(nn.Conv2d(3, 8, 3), dim=3),
    "whole": lambda: parametrizations.weight_norm(nn.Conv2d(3, 8, 3), dim=None),
    "old spelling": lambda: torch.nn.utils.weight_norm(nn.Conv2d(3, 8, 3)),
}


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.head = LAYERS[kind](), nn.Linear(8, 2)
        gate = torch.tensor([1.0, 0, 1, 0, 1, 0, 0, 1])
        self.register_buffer("gate", gate.view(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((torch.tanh(self.a(x)) * self.gate).mean((2, 3)))


@pytest.mark.parametrize("kind", LAYERS)
def test_weight_norms_are_certified(kind: str, tmp_path: Path) -> None:
    net, inputs = Net(kind).eval(), (torch.randn(2, 3, 8, 8),)
    static = igc.compile(net, inputs)
    if kind == "convolution":  # other norms read rows that no output does
        assert_minimal(net, static, inputs)
    assert (4, 3, 3, 3) in {tuple(v.shape) for v in static.state_dict().values()}
    torch.testing.assert_close(static(*inputs), net(*inputs), atol=1e-6, rtol=1e-5)
    assert certified(net, inputs, tmp_path).audit().failures == []
    assert igc.export_onnx(static, tmp_path / "again.onnx").route == "direct"
