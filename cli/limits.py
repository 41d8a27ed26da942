"""A bound on the memory of a run: a hostile file may ask for more than the machine has.

Beyond the bound an allocation fails, which is told in one line, where otherwise the system would
kill this process or another one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SLACK = 2 << 30  # bytes: stacks and reserves that are never touched count as memory too
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def bound_memory() -> None:
    """Limits the memory of this process to what the machine, or its container, has.

    Does nothing where the system knows no such limit (Windows), or a lower one is set.
    """
    try:
        import resource

        most = machine_memory() + SLACK
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if all(limit == resource.RLIM_INFINITY or limit > most for limit in (soft, hard)):
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    except (ImportError, AttributeError, OSError, ValueError):
        return


def machine_memory() -> int:
    """Bytes of memory that this machine has, or the container that it is seen from."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(Path(place).read_text(encoding="ascii")))
    return min(sizes)
