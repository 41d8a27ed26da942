"""What the tests of bad files share: a bomb, file surgery, what a refusal looks like."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import igc
from igc.errors import BadCheckpoint


def refused(path: Path, said: str = "", read: Callable[[Path], Any] = igc.load) -> str:
    """Asserts that reading `path` fails with one line that names the file and matches `said`."""
    with pytest.raises(BadCheckpoint, match=said or None) as caught:
        read(path)
    line = str(caught.value)
    assert path.name in line
    assert "\n" not in line and line.isprintable() and len(line) < 500
    return line


class Bomb:
    """Unpickled by Python, it makes a file; so the file tells whether code ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.proof}",)


def payload(path: Path) -> dict[str, Any]:
    """The content of a good checkpoint, for a test to spoil."""
    return dict(torch.load(path, weights_only=True))


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."
