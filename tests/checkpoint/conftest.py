"""Good checkpoints for the tests to load and to spoil."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_nets import Saved, made, tiny_file

import igc


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("good") / "net.pt")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """Networks of `CASES` with a file each, made once: saved("tiny") -> net, inputs, path."""
    folder = tmp_path_factory.mktemp("saved")

    @functools.cache
    def make(case: str) -> Saved:
        torch.manual_seed(0)
        net, inputs = made(case)
        igc.save(net, folder / f"{case}.pt", inputs)
        return net, inputs, folder / f"{case}.pt"

    return make
