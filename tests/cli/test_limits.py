"""The bound on memory that the command line sets for itself."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from forked import in_a_child

from igc_cli import limits, main


def data_size() -> int:
    """Bytes that count against RLIMIT_DATA in this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData")) << 10


def test_beyond_the_bound_an_allocation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def act() -> int:
        limits.bound_memory()
        held = bytearray(64 << 20)
        try:
            bytearray(512 << 20)
        except MemoryError:
            return 0 if held else 1
        return 2

    monkeypatch.setattr(limits, "machine_memory", data_size)
    monkeypatch.setattr(limits, "SLACK", 256 << 20)
    assert in_a_child(act) == 0
    monkeypatch.setattr(limits, "SLACK", 1 << 40)
    assert in_a_child(act) == 2  # the bound is what made it fail


def test_the_bound_is_the_machine_and_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def act() -> int:
        limits.bound_memory()
        soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
        return 0 if soft == limits.machine_memory() + limits.SLACK else 1

    assert in_a_child(act) == 0


def test_a_lower_limit_stays() -> None:
    def act() -> int:
        lower = data_size() + (1 << 28)
        resource.setrlimit(resource.RLIMIT_DATA, (lower, resource.RLIM_INFINITY))
        limits.bound_memory()
        return 0 if resource.getrlimit(resource.RLIMIT_DATA)[0] == lower else 1

    assert in_a_child(act) == 0


@pytest.mark.parametrize(("text", "counts"), [("1048576\n", True), ("max\n", False)])
def test_a_container_has_less(
    text: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "memory.max"
    place.write_text(text)
    monkeypatch.setattr(limits, "CGROUPS", (str(place), str(tmp_path / "none")))
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert limits.machine_memory() == (1 << 20 if counts else whole)


def test_the_command_line_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def act() -> int:
        called: list[int] = []
        monkeypatch.setattr(main, "watched", lambda act: act())  # in this very process
        monkeypatch.setattr(main, "bound_memory", lambda: called.append(0))
        monkeypatch.setattr(main, "run", lambda arguments: len(called))
        try:
            main.main()
        except SystemExit as ended:
            return 0 if ended.code == 1 else 1
        return 2

    assert in_a_child(act) == 0
