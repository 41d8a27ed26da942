"""A checkpoint to compile while things go wrong."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import igc


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good checkpoint of a small convolutional network with two tasks."""
    torch.manual_seed(0)
    layers = OrderedDict(a=nn.Conv2d(3, 4, 3), n=nn.BatchNorm2d(4), r=nn.ReLU())
    net = igc.gate(
        nn.Sequential(layers), heads={"seg": nn.Conv2d(4, 2, 1), "depth": nn.Conv2d(4, 1, 1)},
        at=["a"],
    )  # fmt: skip
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    path = tmp_path_factory.mktemp("checkpoint") / "net.pt"
    igc.save(net.eval(), path, torch.randn(1, 3, 8, 8))
    return path
