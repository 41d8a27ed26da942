"""A way to run the command line in this process, and a stand-in for the library behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import igc.checkpoint
from igc_cli.main import run


@dataclass(frozen=True)
class Done:
    """What one run left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `igc ARGUMENTS` in this process: cli("verify", path, path) -> Done."""

    def invoke(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return invoke


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces functions of igc for one test: library(verify=lambda ...: ...)."""

    def replace(**functions: Any) -> None:
        for name, function in functions.items():
            monkeypatch.setattr(igc, name, function, raising=False)

    return replace


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces functions of igc.checkpoint for one test; every file counts as igc.save's."""

    def replace(**functions: Any) -> None:
        for name, function in functions.items():
            monkeypatch.setattr(igc.checkpoint, name, function)

    replace(is_igc_file=lambda path: True)
    return replace
