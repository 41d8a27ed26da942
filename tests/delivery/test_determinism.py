"""The same checkpoint gives the same bytes: every run, every hash seed, every thread count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_runs import compile_arguments, listing
from forked import forked

ROOT = Path(__file__).parents[2]


def test_runs_in_one_folder_and_another_give_the_same_bytes(
    checkpoint: Path, tmp_path: Path
) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        done = forked(*compile_arguments(checkpoint, tmp_path / name))
        assert done.code == 0, done.output
        found.append(listing(tmp_path / name))
    assert found[0] == found[1]


@pytest.mark.slow
def test_processes_give_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    """With the proof, so that what it writes into the files is compared as well."""
    found = {}
    for seed, threads in (("0", "1"), ("1", "2"), ("random", "2")):
        folder = tmp_path / f"{seed}-{threads}"
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads,
                       "PYTHONPATH": str(ROOT)}  # fmt: skip
        arguments = [str(a) for a in compile_arguments(checkpoint, folder)]
        done = subprocess.run(
            [sys.executable, "-m", "igc_cli", *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[seed, threads] = listing(folder)
    first, *others = found.values()
    for other in others:
        assert other.keys() == first.keys()
        assert [n for n in first if other[n] != first[n]] == []
