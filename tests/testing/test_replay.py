"""Every network that once failed, replayed from its JSON file."""

from __future__ import annotations

from pathlib import Path

import pytest
from slowness import slow_but

from igc.testing.differential import differential
from igc.testing.regressions import load

CASES = load(Path(__file__).parent / "regressions")


QUICK = {
    "too-few-kernel-elements-static-074c8641",
    "assertionerror-too-many-kernel-elements-56c15130",
}


@pytest.mark.parametrize("name", slow_but({"too-few-kernel-elements-static-074c8641"}, CASES))
def test_what_failed_once_passes(name: str) -> None:
    differential(CASES[name].spec)
