"""Every network in a process of its own, under limits of time and memory.

The processes are forked from one that has imported everything, which saves each of them the
seconds that importing torch and the first capture take.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

Found = dict[str, Any]

PRELOADED = ["benchmarks.foreign.preload"]


@dataclass(frozen=True)
class Limits:
    """What one network may take: CPU seconds, seconds on the clock, GiB of data."""

    seconds: int = 600
    patience: int = 1800
    memory_gib: float = 10


def run(entry: Found, at: str, limits: Limits, **how: Any) -> Found:
    """What `judge(entry, at, **how)` finds; `limit` tells which limit ended it, if one did.

    Where it ended early, `printed` holds what it said last: the reason that C++ gives, and the last
    lines.
    """
    with tempfile.NamedTemporaryFile("r", errors="replace") as printed:
        found = _run(entry, at, limits, printed.name, how)
        lines = printed.read().strip().splitlines()
    told = [line for line in lines if "what():" in line] + lines[-3:]
    return found | {"printed": told} if told and {"error", "limit"} & found.keys() else found


def _run(entry: Found, at: str, limits: Limits, printed: str, how: Found) -> Found:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, entry, at, limits, printed, how))
    process.start()
    theirs.close()
    found: Found = {"key": f"{entry['library']}/{entry['name']}", "family": entry["family"]}
    found |= {"at": at, "note": ""}
    try:
        while mine.poll(limits.patience):
            found = mine.recv()
    except EOFError:  # it has ended
        process.join()
    else:
        process.kill()
        process.join()
        return found | {"limit": f"{limits.patience} seconds in one step"}
    code = process.exitcode
    if code == 0:
        return found
    if code == -signal.SIGXCPU:
        return found | {"limit": f"{limits.seconds} CPU seconds"}
    if code == -signal.SIGABRT and found.get("stage") == "minimum":  # the rest has passed
        return found | {"limit": "torch aborted while it took the gradient"}
    if code == -signal.SIGKILL:
        return found | {"limit": "killed: the machine's memory, or its user"}
    return found | {"error": f"the process ended with {code}"}


def _child(
    told: Connection, entry: Found, at: str, limits: Limits, printed: str, how: Found
) -> None:
    from benchmarks.foreign.catalog import Entry
    from benchmarks.foreign.judge import judge

    file = os.open(printed, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    data = int(limits.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 5))
    told.send(judge(Entry(**entry), at, tell=told.send, **how))
    told.close()
