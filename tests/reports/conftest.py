"""Captures are slow: every test of this folder shares these."""

from __future__ import annotations

import pytest
from report_nets import Gated, picture

from igc.capture import capture
from igc.program import Program


@pytest.fixture(scope="session")
def gated() -> Program:
    """seg has two open channels of four, depth one; not to be changed in place."""
    return capture(Gated({"seg": [0, 2], "depth": [1]}).eval(), picture())
