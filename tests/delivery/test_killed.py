"""Runs that are killed or interrupted at any moment, and two runs at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from fault_runs import OUTPUTS, compile_arguments, listing, older_files
from forked import finish, forked, start

import igc

TIMES = 50
Good = tuple[dict[str, bytes], float]


@pytest.fixture(scope="module")
def good(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Good:
    """What an undisturbed run writes, and how many seconds it takes."""
    folder = tmp_path_factory.mktemp("good")
    began = time.monotonic()
    done = forked(*compile_arguments(checkpoint, folder, "--no-verify"))
    assert done.code == 0, done.output
    return listing(folder), time.monotonic() - began


def settled(folder: Path, good: dict[str, bytes]) -> None:
    """Every output is the whole old file or the whole new one."""
    found = listing(folder)
    for name in OUTPUTS:
        assert found[name] in (b"old " + name.encode(), good[name]), f"{name} is half written"


@pytest.mark.slow
def test_killed_at_random_moments(checkpoint: Path, good: Good, tmp_path: Path) -> None:
    """Fifty times, half of them in the last part of the run, where the files are written."""
    draw = random.Random(0)
    old = new = 0
    for i in range(TIMES):
        folder = tmp_path / str(i)
        folder.mkdir()
        older_files(folder)
        pid, reader = start(compile_arguments(checkpoint, folder, "--no-verify"))
        if i % 2:
            time.sleep(draw.random() * good[1])
        else:  # as soon as there is something temporary, and a little later
            end = time.monotonic() + 60
            while not any(folder.glob(".igc-*")) and time.monotonic() < end:
                time.sleep(0.0005)
            time.sleep(draw.random() * 0.4 * good[1])
        os.kill(pid, signal.SIGKILL)
        finish(pid, reader)
        settled(folder, good[0])
        found = listing(folder)
        old += found["m.onnx"].startswith(b"old ")
        new += not found["m.onnx"].startswith(b"old ")
        if i == 0:  # what is left behind is in the way of nothing
            assert forked(*compile_arguments(checkpoint, folder, "--no-verify")).code == 0
            assert {n: listing(folder)[n] for n in OUTPUTS} == {n: good[0][n] for n in OUTPUTS}
        shutil.rmtree(folder)
    assert old > 5, "every run was over before it was killed"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing_temporary(
    sent: signal.Signals, checkpoint: Path, tmp_path: Path
) -> None:
    from igc_cli import main

    def handlers() -> None:
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, main._terminate)

    older_files(tmp_path)
    before = listing(tmp_path)
    pid, reader = start(compile_arguments(checkpoint, tmp_path), before=handlers)
    end = time.monotonic() + 60
    while not any(tmp_path.glob(".igc-*/m.onnx")) and time.monotonic() < end:
        time.sleep(0.0005)
    os.kill(pid, sent)
    done = finish(pid, reader)
    assert done.code == (130 if sent == signal.SIGINT else 143), done.output
    assert listing(tmp_path) == before
    assert not list(tmp_path.glob(".igc-*"))


def test_two_runs_to_the_same_target(checkpoint: Path, good: Good, tmp_path: Path) -> None:
    arguments = compile_arguments(checkpoint, tmp_path, "--no-verify")
    ended = [finish(*child) for child in [start(arguments) for _ in range(3)]]
    # One of them may find that another has just made the folder; none may harm its files.
    assert 0 in [done.code for done in ended]
    assert all(done.code == 0 or "cannot write" in done.output for done in ended)
    assert listing(tmp_path) == good[0]
    static = igc.load(tmp_path / "s.pt")
    assert igc.verify(static, tmp_path / "m.onnx")
