"""Random numbers that a forward draws in Python while traced, and that would be kept for good.

`torch.rand(x.shape[0])` is a node and draws anew in every pass. `random.random() < 0.1` and
`torch.rand(1)` are drawn once, by the trace: they are seen by the generators having moved.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import torch


class Draws:
    """Notes the modules whose own Python moved a generator."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self._state = _state()

    def blame(self, path: str) -> None:
        """Notes `path` if a generator has moved since the last look."""
        if not _same(state := _state(), self._state):
            self.paths.add(path)
            self._state = state

    def forget(self) -> None:
        """Takes the present state as it is: igc itself has run something."""
        self._state = _state()


def _state() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy.random")
    drawn = numpy.get_state(legacy=False)["state"] if numpy else {}
    return torch.get_rng_state(), random.getstate(), drawn.get("pos"), bytes(drawn.get("key", b""))


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return a[1:] == b[1:] and torch.equal(a[0], b[0])
