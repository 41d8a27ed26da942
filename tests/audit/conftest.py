"""A compiled network with its certificate, made once, and a copy of it for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from audit_nets import Certificate, certified, gated_net


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificate")
    return certified(gated_net(), (torch.zeros(2, 3, 8, 8),), folder)


@pytest.fixture
def certificate(original: Certificate, tmp_path: Path) -> Certificate:
    """A copy that a test may tamper with."""
    for file in original.folder.iterdir():
        shutil.copy(file, tmp_path / file.name)
    return Certificate(tmp_path)
