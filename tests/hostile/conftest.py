"""A checkpoint and its ONNX file, to be spoilt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import igc


class Tiny(nn.Module):
    """The smallest gated network there is: two features, one constant mask."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(4, 3)
        self.shared = nn.Linear(4, 3)
        self.alpha = nn.Parameter(torch.tensor([1.0, -1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        gate = (torch.sigmoid(self.alpha) > 0.5).to(x.dtype)
        return gate * self.own(x) + (1 - gate) * self.shared(x)

    @property
    def gates(self) -> dict[str, dict[str, nn.Module]]:
        return {"first": {"seg": self}}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good checkpoint."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "net.pt"
    igc.save(Tiny(), path, torch.randn(2, 4))
    return path


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Path:
    """The ONNX file of that checkpoint."""
    path = checkpoint.with_name("net.onnx")
    igc.export_onnx(igc.compile(checkpoint), path, simplify=False)
    return path
