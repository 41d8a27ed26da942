"""The command in a child of this process: a library that a file kills takes only the child along.

Kernels of PyTorch and onnxruntime run on behalf of files that nobody vouches for. One that dies by
a signal can say nothing; the parent says it, and returns the exit code of bad input.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

BAD = 2
PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP")
PR_SET_PDEATHSIG = 1  # Linux, prctl.h


def watched(act: Callable[[], int]) -> int:
    """The exit code of `act()`, run in a child; where a signal ends that, one line and 2.

    Runs it in this process where the system has no such thing. Signals that somebody sends to this
    process are passed on; those of the terminal reach the child anyway.
    """
    if not hasattr(os, "fork") or not hasattr(signal, "sigwaitinfo"):
        return act()
    mine = {getattr(signal, name) for name in PASSED_ON} | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, mine)
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:  # no process to be had
        child = -1
    if child <= 0:
        if not child:
            _end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return act()
    code = _waited(child, mine)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if code < 0:
        print(f"igc: {told(-code)}", file=sys.stderr)
        return BAD
    return code


def told(number: int) -> str:
    """What a death by that signal means, in one line."""
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        return f"ended by {name}: by hand, or the system ran out of memory; try a smaller --input"
    return (
        f"a library was ended by {name} while it worked on these files: "
        "they hold what it cannot take, or it has a fault"
    )


def _waited(child: int, mine: set[signal.Signals]) -> int:
    """The child's exit code, negative for a signal."""
    while True:
        found = signal.sigwaitinfo(mine)
        if found.si_signo != signal.SIGCHLD:
            if found.si_code <= 0:  # sent by a process, not by the terminal to all of us
                os.kill(child, found.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)


def _end_with(parent: int) -> None:
    """Lets this child be killed when its parent is, where the system can do that."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL("libc.so.6").prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        except (OSError, AttributeError):  # another C library
            return
        if os.getppid() != parent:
            os._exit(BAD)
