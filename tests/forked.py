"""The command line in a child that is forked from this process, under limits of its own.

Forking skips the seconds that importing torch takes; limits and signals stay with the child.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import igc.delivery  # noqa: F401 - all that a child would otherwise import once more
from igc_cli.main import run

MEMORY = 3 << 30  # bytes of address space on top of what this process has
SECONDS = 60  # of processor time
WALL = 600  # of any time


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal), what it printed, its cost."""

    code: int
    output: str
    seconds: float
    peak_mib: float


def fork() -> int:
    """As `os.fork`; the child leaves its parent's garbage alone, and is killed where it hangs.

    Collecting an onnxruntime session waits for its threads, and a fork has none but its own.
    """
    gc.freeze()
    pid = os.fork()
    if pid:
        gc.unfreeze()
    else:
        signal.alarm(WALL)
    return pid


def in_a_child(act: Callable[[], int]) -> int:
    """The exit code of a forked child that does this."""
    pid = fork()
    if not pid:
        code = 99
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start(
    arguments: tuple[object, ...],
    before: Callable[[], None] | None = None,
    memory: int = MEMORY,
) -> tuple[int, int]:
    """Starts `igc ARGUMENTS` in a child; returns its process id and where its output comes out.

    `before` runs in the child first.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 99
    try:
        os.close(reader)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.stdout = sys.stderr = os.fdopen(writer, "w", buffering=1)
        if memory:
            own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (own + memory, own + memory))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if before is not None:
            before()
        code = run([str(argument) for argument in arguments])
        sys.stdout.flush()
    except SystemExit as ending:  # what the handlers of `igc_cli.main` raise
        code = ending.code if isinstance(ending.code, int) else 98
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(pid: int, reader: int) -> Ended:
    """Waits for the child and reads all that it printed."""
    pieces = []
    while piece := os.read(reader, 1 << 16):
        pieces.append(piece)
    os.close(reader)
    _, status, used = os.wait4(pid, 0)
    output = b"".join(pieces).decode(errors="backslashreplace")
    return Ended(
        os.waitstatus_to_exitcode(status),
        output,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 1024,
    )


def forked(
    *arguments: object, before: Callable[[], None] | None = None, memory: int = MEMORY
) -> Ended:
    """Runs `igc ARGUMENTS` in a child to its end."""
    return finish(*start(arguments, before, memory))


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.001)
    return False
