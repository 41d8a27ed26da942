"""The setting that keeps the heap small: what a process holds after large tensors are gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys, torch
from igc_cli.memory import return_large_blocks
made = return_large_blocks() if sys.argv[1] == "set" else True
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
del_first = torch.zeros(7 << 20); del del_first  # freeing 28 MiB raises glibc's limit to that
before = held()
kept, gone = [], []
for _ in range(20):
    gone.append(torch.zeros(1 << 20))  # 4 MiB
    kept.append(torch.zeros(1 << 10))
del gone
print(int(made), held() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_blocks_go_back_to_the_system() -> None:
    def run(how: str) -> tuple[int, int]:
        out = subprocess.run(
            [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
        )
        made, grown = out.stdout.split()
        return int(made), int(grown)

    made, grown = run("set")
    if not made:
        pytest.skip("another C library than glibc")
    _, otherwise = run("leave")
    assert grown < 16 << 20 < otherwise
