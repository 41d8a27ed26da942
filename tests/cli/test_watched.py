"""A death by a signal in the command is a line and exit code 2; other signals arrive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
from igc_cli import main
from igc_cli.watched import watched

def act():
    {act}

sys.exit(watched(act))
"""


def ran(act: str) -> subprocess.CompletedProcess[str]:
    """What became of a process that is watched while it does this."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(act=act)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGBUS", "SIGILL", "SIGKILL"])
def test_a_death_is_told_in_a_line(name: str) -> None:
    done = ran(f"os.kill(os.getpid(), signal.{name})")
    assert done.returncode == 2
    assert name in done.stderr and done.stderr.count("\n") == 1 and done.stderr.startswith("igc: ")


@pytest.mark.parametrize("code", [0, 1, 3, 130])
def test_an_exit_code_stays(code: int) -> None:
    done = ran(f"print('said'); return {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "said\n", "")


def started(act: str) -> subprocess.Popen[str]:
    made = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(act=act)], stdout=subprocess.PIPE, text=True
    )
    assert made.stdout is not None
    assert made.stdout.readline().strip() == "ready"
    return made


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_are_passed_on(sent: signal.Signals) -> None:
    act = f"signal.signal({int(sent)}, lambda *_: sys.exit(42)); print('ready', flush=True); " \
          "time.sleep(60)"  # fmt: skip
    made = started(act)
    made.send_signal(sent)
    assert made.wait(30) == 42


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends orphans")
def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    proof = tmp_path / "pid"
    made = started(
        f"open({str(proof)!r}, 'w').write(str(os.getpid())); print('ready', flush=True); "
        "time.sleep(60)"
    )
    child = int(proof.read_text())
    assert child != made.pid
    made.kill()
    made.wait(30)
    end = time.monotonic() + 20
    while time.monotonic() < end and Path(f"/proc/{child}/stat").exists():
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.01)
    else:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
