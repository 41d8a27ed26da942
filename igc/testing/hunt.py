"""One worker of a soak: Hypothesis draws networks until the time is up, and shrinks what fails.

Each network is tried in a child process, so that a crash, an endless loop or a blow-up of memory
is a fault like a wrong number, and shrinks like one. Every trial is one line of the worker's log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

try:
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis.database import DirectoryBasedExampleDatabase
    from hypothesis.errors import Flaky
except ImportError as error:
    raise ImportError(
        "igc.testing.hunt needs the package hypothesis: pip install 'igc-compiler[test]'"
    ) from error

from igc.testing.isolated import Outcome, isolated
from igc.testing.regressions import save, to_data
from igc.testing.spec import Spec
from igc.testing.strategies import specs

Trial = Callable[[Spec], Any]
Attempt = Callable[[Callable[[], Any]], Outcome]


class Fault(AssertionError):
    """A network that failed; each kind is a class of its own, so that shrinking keeps to it."""

    def __init__(self, spec: Spec, outcome: Outcome) -> None:
        super().__init__(f"{outcome.message}\nspec to reproduce:\n{spec!r}")
        self.spec, self.outcome = spec, outcome


@dataclass
class Hunter:
    """Tries networks and remembers which kinds of fault are known already.

    `known` kinds are counted and not shrunk again; `size` networks are drawn from one seed.
    """

    trial: Trial
    log: Path
    regressions: Path
    until: float
    stop: Callable[[], bool] = lambda: False
    size: int = 100
    attempt: Attempt = isolated
    known: set[str] = field(default_factory=set)
    _kinds: dict[str, type[Fault]] = field(default_factory=dict)

    def try_one(self, spec: Spec) -> None:
        """One network in a child; raises `Fault` where it fails in a way not yet known."""
        late = time.time() > self.until or self.stop()
        if late and not self._kinds.keys() - self.known:  # a fault at hand is shrunk to its end
            return
        outcome = self.attempt(lambda: self.trial(spec))
        self._write("trial", spec=to_data(spec), **asdict(outcome))
        if outcome.fault and outcome.fault not in self.known:
            kind = self._kinds.setdefault(outcome.fault, type("Fault", (Fault,), {}))
            raise kind(spec, outcome)

    def batch(self, number: int, database: Path) -> None:
        """Networks drawn from the seed `number`; a fault is shrunk, saved and then known."""

        @seed(number)
        @settings(
            max_examples=self.size, deadline=None, report_multiple_bugs=False, print_blob=False,
            database=DirectoryBasedExampleDatabase(database),
            phases=[p for p in Phase if p is not Phase.explain],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(specs())
        def search(spec: Spec) -> None:
            self.try_one(spec)

        self._write("seed", seed=number)
        try:
            search()
        except Fault as fault:
            path = save(self.regressions, fault.spec, fault.outcome.message, f"seed {number}")
            self._write("saved", path=path.name, fault=fault.outcome.fault)
        except Flaky as error:
            self._write("flaky", message=str(error)[:2000])
        self.known |= self._kinds.keys()

    def run(self, first: int, database: Path) -> None:
        """Batches of the seeds `first`, `first + 1`, ... until the time is up or `stop` says so."""
        number = first
        while time.time() < self.until and not self.stop():
            self.batch(number, database)
            number += 1

    def _write(self, event: str, **data: Any) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps({"event": event, "time": time.time(), **data}) + "\n")
