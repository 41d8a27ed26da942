"""Captures are slow: every test of this folder shares these."""

from __future__ import annotations

import pytest
import torch
from verify_nets import Pair, make_pair


@pytest.fixture(scope="session")
def nets() -> Pair:
    """Both in float32; not to be changed in place."""
    return make_pair(torch.float32)


@pytest.fixture(scope="session")
def nets64() -> Pair:
    """Both in float64."""
    return make_pair(torch.float64)
