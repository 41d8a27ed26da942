"""A proof: one reference, its candidates one after the other, and what is told of them.

An ONNX file tells in its metadata how it was compared, its manifest also which outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from igc.verification.bounds import FLOAT64
from igc.verification.result import Check
from igc.verification.runtimes import Network, sides
from igc.verification.side import Memo
from igc.verification.verifier import verify


@dataclass(frozen=True)
class Proof:
    """Verifies candidates against one reference, which is run once for all of them.

    `label` is what to call the reference; `tasks` and `full` are as in `verify`. `checks` are the
    verdicts by name, the last one of each.
    """

    reference: Network
    label: str
    tasks: Sequence[str] | None = None
    full: bool = False
    checks: dict[str, Check] = field(default_factory=dict)
    memo: Memo = field(default_factory=dict)

    def of(self, name: str, candidate: Network, label: str) -> Check:
        """The verdict on the candidate, called `label` in it; it is kept under `name`."""
        check = verify(self.reference, candidate, tasks=self.tasks, full=self.full, memo=self.memo)
        self.checks[name] = replace(check, reference=self.label, candidate=label)
        return self.checks[name]

    def ways(self) -> dict[str, Any]:
        """That it passed, and in which ways each candidate was compared."""
        return {"passed": True, **{name: _ways(check) for name, check in self.checks.items()}}

    def planned(self, candidates: Mapping[str, Network]) -> dict[str, list[str]]:
        """By candidate the ways it is compared in, if nothing keeps one of them from running."""
        found = {}
        for name, candidate in candidates.items():
            ref, cand = sides(self.reference, candidate, None)
            exact = ref.exact is not None is not cand.exact
            found[name] = sorted({*cand.ways, *([FLOAT64] if exact else ())})
        return found

    def compared(self) -> dict[str, Any]:
        """By candidate and way, the outputs that were compared.

        Without errors and bounds: those are measured, and would not be the same in every run.
        """
        return {
            name: {
                way: [n for n, output in check.outputs.items()
                      if any(leg.way == way for leg in output.legs)]
                for way in _ways(check)
            }
            for name, check in self.checks.items()
        }  # fmt: skip


def _ways(check: Check) -> list[str]:
    return sorted({leg.way for output in check.outputs.values() for leg in output.legs})
