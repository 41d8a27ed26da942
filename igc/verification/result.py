"""What a verification found: one `Leg` per comparison, grouped by output into a `Check`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Leg:
    """One output compared in one way on one set of inputs.

    The figures are those of the channel that comes nearest its bound, number `channel` (None where
    the output is but one). `max_abs` is its largest absolute difference and `scale` how large it
    is in the reference; both count finite values only. `bound` is absolute, `bound_from` says how
    it came about. A leg passes when `max_abs <= bound` and `problem` is empty. Outputs that are not
    floating count differing elements in `max_abs`, against a bound of 0.
    """

    output: str
    way: str
    inputs: str
    max_abs: float
    scale: float
    bound: float
    bound_from: str
    problem: str = ""
    channel: int | None = None

    @property
    def max_rel(self) -> float:
        """The largest absolute difference over the channel's largest magnitude."""
        if self.max_abs == 0.0:
            return 0.0
        return self.max_abs / self.scale if self.scale > 0.0 else math.inf

    @property
    def passed(self) -> bool:
        """Whether the two agree here."""
        return not self.problem and self.max_abs <= self.bound

    @property
    def strain(self) -> float:
        """The share of the bound that is used up; above 1 (or infinite) means a failure."""
        if self.problem:
            return math.inf
        if self.max_abs == 0.0:
            return 0.0
        return self.max_abs / self.bound if self.bound > 0.0 else math.inf

    def describe(self) -> str:
        """What is wrong, in one line."""
        told = self.problem or (f"differs by {self.max_abs:.2e} where {self.bound:.2e} is allowed")
        place = "" if self.channel is None or self.problem else f", channel {self.channel}"
        return f"output '{self.output}'{place} ({self.way}, {self.inputs}): {told}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a float that is not finite becomes a string."""
        return {
            "way": self.way,
            "inputs": self.inputs,
            "channel": self.channel,
            "max_abs": number(self.max_abs),
            "max_rel": number(self.max_rel),
            "bound": number(self.bound),
            "bound_from": self.bound_from,
            "passed": self.passed,
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Unrun:
    """A way in which the candidate did not run on some inputs, and what its runtime said."""

    way: str
    inputs: str
    reason: str

    def __str__(self) -> str:
        return f"the candidate does not run ({self.way}, {self.inputs}): {self.reason}"


@dataclass(frozen=True)
class OutputCheck:
    """Every leg of one output; the figures are those of the leg that came nearest its bound."""

    name: str
    legs: tuple[Leg, ...]

    @property
    def worst(self) -> Leg:
        """The leg that uses up most of its bound, the first one of equals."""
        return max(self.legs, key=lambda leg: leg.strain)

    @property
    def passed(self) -> bool:
        """Whether every leg passed."""
        return all(leg.passed for leg in self.legs)

    @property
    def max_abs(self) -> float:
        """The largest absolute difference, in the worst leg."""
        return self.worst.max_abs

    @property
    def max_rel(self) -> float:
        """The largest difference relative to the channel's largest magnitude, in the worst leg."""
        return self.worst.max_rel

    @property
    def bound(self) -> float:
        """The absolute bound of the worst leg."""
        return self.worst.bound

    @property
    def bound_from(self) -> str:
        """Where that bound comes from."""
        return self.worst.bound_from

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "passed": self.passed,
            "max_abs": number(self.max_abs),
            "max_rel": number(self.max_rel),
            "bound": number(self.bound),
            "bound_from": self.bound_from,
            "legs": [leg.to_dict() for leg in self.legs],
        }


@dataclass(frozen=True)
class Check:
    """The verdict of `igc.verify`: true in a condition exactly when it passed.

    `outputs` maps each output (task) to its figures; `failures` holds one line per thing that is
    wrong, `notes` what was left out and why; `first_difference` names the first layer whose
    values diverge, where that could be found. `unrun` are those failures that are the runtime's.
    """

    reference: str
    candidate: str
    outputs: dict[str, OutputCheck] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    first_difference: str | None = None
    unrun: tuple[Unrun, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything that was checked agrees; never true when nothing was compared."""
        return (
            bool(self.outputs)
            and not self.failures
            and all(o.passed for o in self.outputs.values())
        )

    def __bool__(self) -> bool:
        return self.passed

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, the same for the same networks and inputs."""
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "reference": self.reference,
            "candidate": self.candidate,
            "outputs": {name: o.to_dict() for name, o in self.outputs.items()},
            "failures": list(self.failures),
            "notes": list(self.notes),
            "first_difference": self.first_difference,
        }

    def __str__(self) -> str:
        head = "agree" if self.passed else "DIFFER"
        lines = [f"{self.reference} and {self.candidate} {head}"]
        lines += [f"  failed: {text}" for text in self.failures]
        if self.outputs:
            width = max(len("output"), *(len(name) for name in self.outputs))
            lines.append(
                f"  {'output':<{width}}  {'max abs':>9}  {'max rel':>9}  {'bound':>9}  "
                f"{'':4}  closest comparison"
            )
        for name, out in self.outputs.items():
            leg = out.worst
            verdict = "ok" if out.passed else "FAIL"
            lines.append(
                f"  {name:<{width}}  {out.max_abs:9.2e}  {out.max_rel:9.2e}  {out.bound:9.2e}  "
                f"{verdict:4}  {leg.way}, {leg.inputs}"
            )
        if self.first_difference:
            lines.append(f"  first layer that diverges: {self.first_difference}")
        legs = [leg for out in self.outputs.values() for leg in out.legs]
        if legs:
            lines.append(f"  compared in: {'; '.join(dict.fromkeys(leg.way for leg in legs))}")
            inputs = list(dict.fromkeys(leg.inputs for leg in legs))
            count = f"{len(inputs)} sets of inputs" if len(inputs) > 1 else "one set of inputs"
            lines.append(f"  on {count}, a sample and no proof: {'; '.join(inputs)}")
        sources = dict.fromkeys(o.bound_from for o in self.outputs.values())
        lines += [f"  bound: {text}" for text in sources]
        lines += [f"  note: {text}" for text in self.notes]
        return "\n".join(lines)


def group(legs: Iterable[Leg]) -> dict[str, OutputCheck]:
    """The legs by output, in order of first appearance."""
    by_output: dict[str, list[Leg]] = {}
    for leg in legs:
        by_output.setdefault(leg.output, []).append(leg)
    return {name: OutputCheck(name, tuple(found)) for name, found in by_output.items()}


def number(value: float) -> float | str:
    """The value, or its name where JSON has no number for it."""
    return value if math.isfinite(value) else str(value)
