"""A call in a forked child: what kills the child, or never ends, is an outcome like any other.

Needs a POSIX system. A fork costs some hundredths of a second, no import is repeated, and memory
that a library leaks ends with the child.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MEMORY = 4 << 30  # bytes of address space beyond what the process has
SECONDS = 180  # of processor time
WALL = 1800  # seconds of any time


@dataclass(frozen=True)
class Outcome:
    """What became of a call: `fault` is empty or its kind, `message` its text, `value` the result.

    Of two calls that fail at one place of the code in one way, the faults are equal.
    """

    fault: str
    message: str
    value: Any
    seconds: float


def isolated(call: Callable[[], Any], *, memory: int = MEMORY, seconds: int = SECONDS) -> Outcome:
    """The outcome of `call()` in a child that may take so many bytes and processor seconds.

    The value has to be plain data that multiprocessing can send.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(call, sender, memory, seconds))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The child must not collect its parent's garbage: what has threads, such as an onnxruntime
    # session, waits for them when it is destroyed, and a fork has none but its own.
    gc.freeze()
    try:
        child.start()
    finally:
        gc.unfreeze()
    sender.close()
    fault, message, value = "", "", None
    try:
        if not receiver.poll(WALL):
            fault, message = "timeout", f"no answer within {WALL} s"
        else:
            fault, message, value = receiver.recv()
    except EOFError:
        child.join()
        fault, message = _death(child.exitcode or 0, seconds)
    finally:
        child.kill()
        child.join()
        receiver.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Outcome(fault, message, value, used)


def _death(code: int, seconds: int) -> tuple[str, str]:
    if code == -signal.SIGXCPU:
        return "timeout", f"more than {seconds} s of processor time"
    if code < 0:
        name = signal.Signals(-code).name
        return f"crash {name}", f"the process was killed by {name}"
    return "crash", f"the process ended with code {code} and no answer"


def _run(call: Callable[[], Any], sender: Connection, memory: int, seconds: int) -> None:
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + memory, own + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer: tuple[str, str, Any] = ("", "", call())
    except MemoryError:
        answer = ("memory", f"more than {memory >> 20} MiB", None)
    except BaseException as error:  # whatever it is, it is the outcome
        answer = (_kind(error), f"{type(error).__name__}: {error}", None)
    sender.send(answer)
    sender.close()
    os._exit(0)


def _kind(error: BaseException) -> str:
    """The type, the innermost place in igc's own code, and how a failed check begins."""
    frames = [
        f"{Path(f.filename).parent.name}/{Path(f.filename).name}:{f.name}"
        for f in traceback.extract_tb(error.__traceback__)
        if "igc" in Path(f.filename).parts
    ]
    start = re.split(r"[,:\n]", str(error))[0] if isinstance(error, AssertionError) else ""
    return " ".join([type(error).__name__, *frames[-1:], start]).strip()
