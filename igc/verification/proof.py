"""A proof: one reference, its candidates one after the other, and what is told of them.

An ONNX file tells in its metadata how it was compared, its manifest how near the bounds it came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from igc.verification.result import Check, Leg
from igc.verification.runtimes import Network
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

    def figures(self) -> dict[str, Any]:
        """By candidate, way and output the largest error and its bound, over the largest value.

        Each as the power of ten above: further digits depend on how many threads computed them.
        """
        return {name: _figures(check) for name, check in self.checks.items()}


def _ways(check: Check) -> list[str]:
    return sorted({leg.way for output in check.outputs.values() for leg in output.legs})


def _figures(check: Check) -> dict[str, Any]:
    found: dict[str, Any] = {way: {} for way in _ways(check)}
    for name, output in check.outputs.items():
        for way, by_output in found.items():
            by_output[name] = _worst([leg for leg in output.legs if leg.way == way])
    return found


def _worst(legs: Sequence[Leg]) -> dict[str, float]:
    leg = max(legs, key=lambda leg: leg.strain)
    return {"error": _above(leg.max_abs, leg.scale), "bound": _above(leg.bound, leg.scale)}


def _above(part: float, whole: float) -> float:
    share = part / whole if part and whole else part
    return float(f"1e{math.ceil(math.log10(share))}") if 0 < share < math.inf else share
