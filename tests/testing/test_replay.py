"""Every network that once failed, replayed from its JSON file."""

from __future__ import annotations

from pathlib import Path

import pytest

from igc.testing.differential import differential
from igc.testing.regressions import Regression, load

CASES = load(Path(__file__).parent / "regressions")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_failed_once_passes(case: Regression) -> None:
    differential(case.spec)
