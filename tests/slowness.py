"""Tests without the marker `slow` stay quick: which ones do not is said at the end of a run.

Time is the processor's, that of processes which a test started and waited for included: a machine
that is busy with other things hardly changes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import settings

WORTH_A_WORD = 5.0  # seconds from which a test is named
TOO_LONG = 40.0  # from here the run fails: no noise makes that of a quick test
IN_ALL = 2 * 240.0  # `make test` takes less than four minutes on two cores
USUAL_EXAMPLES = 25  # of the profile `dev`, for which the limits are meant
MODULES = 200  # a test that loads so many pays for all others of its process, and is left out
ADVICE = "make some cheaper or mark them: `make test` leaves out what is slow"


def processor_seconds() -> float:
    """What this process and its finished children have used so far."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def slow_but(quick: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases of a parametrised test, each marked slow but the quick ones."""
    quick = frozenset(quick)
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]


class Slowness:
    """A plugin for pytest: measures every test and speaks of those that should be marked."""

    def __init__(self, clock: Callable[[], float] = processor_seconds) -> None:
        self.clock = clock
        self.took = 0.0
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        before, loaded = self.clock(), len(sys.modules)
        try:
            return (yield)
        finally:
            self.took = self.clock() - before
            if len(sys.modules) - loaded > MODULES:
                self.took = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Iterator[None]:
        report = yield
        if call.when == "call" and item.get_closest_marker("slow") is None:
            # An attribute of a report travels from the worker that made it to the controller.
            report.processor_seconds = self.took / _more_examples(item)
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        if hasattr(report, "processor_seconds"):
            self.seconds[report.nodeid] = report.processor_seconds

    def over(self, limit: float) -> dict[str, float]:
        """The tests without the marker that took longer than `limit`, the slowest one first."""
        slow = {name: s for name, s in self.seconds.items() if s > limit}
        return dict(sorted(slow.items(), key=lambda each: -each[1]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.over(TOO_LONG) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        found, total = self.over(WORTH_A_WORD), sum(self.seconds.values())
        if total > IN_ALL:
            terminalreporter.section("the tests without the marker `slow` take too long")
            terminalreporter.line(
                f"{total:.0f} s of processor time in all, of {IN_ALL:.0f}: {ADVICE}"
            )
        if found:
            terminalreporter.section("slow tests without the marker `slow`")
            for name, seconds in found.items():
                word = "TOO LONG" if seconds > TOO_LONG else "long"
                terminalreporter.line(f"{word} {seconds:.1f} s of processor time: {name}")
            terminalreporter.line(ADVICE)


def _more_examples(item: pytest.Item) -> float:
    """How many times more examples this profile draws for a test than the usual one."""
    drawn = settings().max_examples if item.get_closest_marker("hypothesis") else USUAL_EXAMPLES
    return max(1.0, drawn / USUAL_EXAMPLES)
