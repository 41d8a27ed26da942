"""Child processes, their time and their peak memory.

This process stays small (it imports neither torch nor igc): on Linux a child's peak counts the
memory of its parent at the time it was started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Failed(Exception):
    """A child process that did not succeed, with the end of what it printed."""


@dataclass(frozen=True)
class Child:
    """What a finished child used, and what it printed. `peak` is in bytes."""

    output: str
    seconds: float
    cpu_seconds: float
    peak: int

    @property
    def used(self) -> dict[str, float]:
        """Time and memory as plain data."""
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "peak": self.peak}


def run(command: Sequence[str]) -> Child:
    """Runs a Python module in a fresh process; raises `Failed` where it does not succeed."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=output, stderr=errors, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            tail = "\n".join(errors.read().splitlines()[-8:])
            raise Failed(f"{' '.join(command[:2])} (exit {process.returncode}):\n{tail}")
        unit = 1 if sys.platform == "darwin" else 1024
        cpu = usage.ru_utime + usage.ru_stime
        return Child(output.read(), seconds, cpu, usage.ru_maxrss * unit)


def step(name: str, folder: Path, /, **options: Any) -> dict[str, Any]:
    """What a step of `benchmarks.bench_steps` found, and under "process" what it used."""
    child = run(["benchmarks.bench_steps", name, str(folder), json.dumps(options)])
    found: dict[str, Any] = json.loads(child.output.splitlines()[-1])
    return {**found, "process": child.used}


def igc_compile(folder: Path) -> dict[str, float]:
    """Time and memory of `igc compile gated.pt --out ...` with all its checks."""
    arguments = ["compile", str(folder / "gated.pt"), "--out", str(folder / "command.onnx")]
    return run(["igc_cli", *arguments]).used
