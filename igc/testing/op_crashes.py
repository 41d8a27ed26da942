"""Does any call of an allowed operation kill the process? `python -m igc.testing.op_crashes`.

Calls are drawn by `wild_calls`, read as a checkpoint's graph is, and, where igc takes them, run on
real tensors: at the example's sizes, at others, and in float64. They run in children, so that a
death by signal is a finding with the number that draws the call again. What a call may read ends
where a page begins that nobody may touch, so that most reads beyond an operand are deaths too.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import re
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from igc.checkpoint.data import from_data
from igc.errors import IgcError
from igc.program import Program
from igc.program.execute import execute
from igc.program.shapes import other_sizes
from igc.testing.wild_calls import WildCall, operations, values, wild_call

MEMORY = 2 << 30  # bytes of address space on top of what the process has
SECONDS = 20  # of processor time for one call
SLOTS = 16  # guarded places for operands
ROOM = 1 << 16  # bytes in each


@dataclass(frozen=True)
class Death:
    """A call that ended its process."""

    number: int
    op: str
    signal: str


@dataclass(frozen=True)
class Tried:
    """How many calls were drawn, taken, given up as slow, and the deaths."""

    calls: int
    taken: int
    slow: int
    deaths: tuple[Death, ...]


@dataclass(frozen=True)
class Plan:
    """Which calls are drawn: of which operations, in turns, and with which seed."""

    ops: tuple[str, ...]
    seed: int = 0

    def call(self, number: int) -> WildCall:
        """Call number so and so."""
        op = self.ops[number % len(self.ops)]
        return wild_call(op, Random(f"{self.seed} {number}"))  # noqa: S311


def attempt(call: WildCall) -> bool:
    """Reads the call as a checkpoint's graph and runs it; whether igc took it."""
    try:
        program = from_data(call.data, call.tensors)
    except IgcError:
        return False
    for sizes in (program.sizes, other_sizes(program)):
        for dtype in (None, torch.float64):
            try:
                execute(program, _inputs(program, sizes), dtype=dtype)
            except (RuntimeError, ValueError, IndexError, TypeError, IgcError, MemoryError,
                    NotImplementedError, OverflowError, ArithmeticError):  # fmt: skip
                continue  # an operand that does not fit is said, not died of
        if not program.sizes:
            break
    return True


def _inputs(program: Program, sizes: dict[str, int]) -> list[Tensor]:
    random = Random(0)  # noqa: S311
    return [
        guarded(values(tuple(spec.shape(sizes)), spec.dtype, random), slot)
        for slot, spec in enumerate(program.inputs)
    ]


_places: list[tuple[mmap.mmap, int]] = []


def guarded(tensor: Tensor, slot: int) -> Tensor:
    """The tensor again, contiguous, with its last byte before a page that must not be touched."""
    size = tensor.numel() * tensor.element_size()
    if slot >= SLOTS or not size or size > ROOM:
        return tensor.contiguous()
    while len(_places) <= slot:
        memory = mmap.mmap(-1, ROOM + mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(start + ROOM), mmap.PAGESIZE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        _places.append((memory, start))
    place = torch.frombuffer(_places[slot][0], dtype=torch.uint8, count=ROOM)[ROOM - size :]
    return place.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def try_calls(plan: Plan, numbers: Sequence[int]) -> Tried:
    """Attempts these calls in children, a new one after each death."""
    deaths: list[Death] = []
    taken = slow = 0
    shared = mmap.mmap(-1, 16)  # the position that the child is at, and how many it took
    at = 0
    while at < len(numbers):
        shared[:16] = at.to_bytes(8, "little") + bytes(8)
        code = _in_a_child(plan, numbers, at, shared)
        at = int.from_bytes(shared[:8], "little")
        taken += int.from_bytes(shared[8:], "little")
        if at < len(numbers) and code == -signal.SIGPROF:
            slow += 1
            at += 1
        elif at < len(numbers):
            name = signal.Signals(-code).name if code < 0 else f"exit {code}"
            deaths.append(Death(numbers[at], plan.call(numbers[at]).op, name))
            at += 1
    return Tried(len(numbers), taken, slow, tuple(deaths))


def _in_a_child(plan: Plan, numbers: Sequence[int], start: int, shared: mmap.mmap) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        _limit()
        taken = 0
        for at in range(start, len(numbers)):
            shared[:8] = at.to_bytes(8, "little")
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            taken += attempt(plan.call(numbers[at]))
            shared[8:] = taken.to_bytes(8, "little")
        shared[:8] = len(numbers).to_bytes(8, "little")
        code = 0
    finally:
        os._exit(code)


def _limit() -> None:
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)  # a fork has no threads but its own
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # torch's own warnings go round Python's


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries as many calls as wanted and says what died; the exit code is 1 if anything did."""
    parser = argparse.ArgumentParser(prog="python -m igc.testing.op_crashes")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first call")
    parser.add_argument("--ops", default="", help="only operations whose names match this")
    options = parser.parse_args(arguments)
    plan = Plan(tuple(n for n in operations() if re.search(options.ops, n)), options.seed)
    torch.set_num_threads(1)
    tried = try_calls(plan, range(options.first, options.first + options.calls))
    for death in tried.deaths:
        print(f"{death.signal}: {death.op}, call {death.number} of seed {options.seed}")  # noqa: T201
    kinds = Counter((death.op, death.signal) for death in tried.deaths)
    for (op, name), count in kinds.most_common():
        print(f"  {count} x {op} {name}")  # noqa: T201
    print(  # noqa: T201
        f"{tried.calls} calls, {tried.taken} taken and run, {tried.slow} longer than {SECONDS} s, "
        f"{len(tried.deaths)} deaths"
    )
    return 1 if tried.deaths else 0


if __name__ == "__main__":
    sys.exit(main())
