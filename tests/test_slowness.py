"""What is slow is named at the end of a run, and what is far too slow fails it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from slowness import TOO_LONG, Slowness, processor_seconds

pytest_plugins = "pytester"

FILE = """
import pytest

def test_plain(): {}

@pytest.mark.slow
def test_marked(): pass
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs two tests of so many seconds each; the first one does `body`, the second is marked."""

    def run(seconds: int, body: str = "pass") -> pytest.RunResult:
        clock = itertools.count(0, seconds)
        pytester.makeini("[pytest]\nmarkers = slow")
        pytester.makepyfile(FILE.format(body))
        plugin = Slowness(lambda: float(next(clock)))
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", plugins=[plugin])

    return run


def test_quick_tests_are_not_named(run: Run) -> None:
    found = run(5)
    assert found.ret == 0
    assert "slow" not in found.stdout.str()


def test_a_long_test_is_named(run: Run) -> None:
    found = run(6)
    assert found.ret == 0
    found.stdout.fnmatch_lines(["long 6.0 s of processor time: *::test_plain"])
    assert "test_marked" not in found.stdout.str()


def test_a_test_that_is_far_too_long_fails_the_run(run: Run) -> None:
    found = run(int(TOO_LONG) + 1)
    assert found.ret == 1
    found.stdout.fnmatch_lines(["TOO LONG *.0 s of processor time: *::test_plain"])


def test_a_test_that_loads_a_library_for_all_is_not_named(run: Run) -> None:
    more = "import sys, types; sys.modules.update({f'm{i}': types for i in range(201)})"
    found = run(6, more)
    assert "slow" not in found.stdout.str()


def test_many_tests_that_take_too_long_in_all_are_told(run: Run) -> None:
    found = run(481)
    found.stdout.fnmatch_lines(["481 s of processor time in all, of 480: *"])


def test_processor_time_counts() -> None:
    before = processor_seconds()
    while processor_seconds() == before:
        sum(range(10_000))
