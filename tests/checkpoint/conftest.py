"""A good checkpoint for the tests to spoil."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_nets import tiny_file


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("good") / "net.pt")
