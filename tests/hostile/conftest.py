"""A checkpoint and its ONNX file, to be spoilt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import Tiny

import igc


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
