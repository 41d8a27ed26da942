"""Running both sides on one set of inputs after the other, and comparing output by output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from torch import Tensor

from igc.errors import BadInput, one_line
from igc.verification.bounds import FLOAT64, Yardstick, float64_leg, mismatch, own_leg, rounding
from igc.verification.inputs import Draw
from igc.verification.reference import Reference, trusted
from igc.verification.result import Leg, Unrun
from igc.verification.side import Exact, Outputs, Side


@dataclass
class Comparison:
    """Collects the legs. `keep` gives, for each output of the candidate, the reference's one."""

    ref: Side
    cand: Side
    input_names: Sequence[str]
    keep: Sequence[int]
    legs: list[Leg] = field(default_factory=list)
    lost: list[Leg] = field(default_factory=list)
    sound: set[tuple[str, str]] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    unrun: list[Unrun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _draws: dict[str, Draw] = field(default_factory=dict)

    def add(self, draw: Draw) -> None:
        """Runs both sides on `draw` and records every leg of every output.

        Raises `BadInput` where the reference does not run on it, unless igc chose the image size.
        """
        for side in (self.ref, self.cand):
            misfit = side.takes(self.input_names, draw.tensors)
            if misfit:
                self.notes.append(f"{draw.label} was not run: {misfit}")
                return
        self._draws[draw.label] = draw
        kept: tuple[list[Any], ...] = (self.legs, self.failures, self.lost, self.unrun)
        before, sound = [len(each) for each in kept], set(self.sound)
        try:
            self._compare(draw)
        except BadInput as error:
            if not draw.resized:
                raise
            for each, length in zip(kept, before, strict=True):
                del each[length:]
            self.sound = sound
            self.notes.append(f"not compared at another image size: {error}")

    def inputs_of(self, leg: Leg) -> tuple[Tensor, ...]:
        """The inputs that a leg was run on."""
        return self._draws[leg.inputs].tensors

    def _compare(self, draw: Draw) -> None:
        if self.ref.exact is None:
            self._with_ways(draw)
        else:
            self._with_exact(Reference(self.ref.exact, draw, self.keep))

    def _with_exact(self, ref: Reference) -> None:
        """Bounds from what the reference's own precision loses against float64."""
        draw, own = ref.draw, ref.network.dtype
        if self.cand.exact is not None:
            self._float64(ref, self.cand.exact)
        for way in self.cand.ways:
            got = self._attempt(draw, way)
            if got is None:
                continue
            dtype = next((v.dtype for v in got if _floats(v)), own)
            if dtype != own:
                self.notes.append(f"the reference is {own}, the candidate {dtype}")
            yards = ref.yardsticks(dtype)
            if self._beyond(way, draw, yards, got):
                yards = ref.sampled(dtype, yards)
            if self.cand.approximates and self._beyond(way, draw, yards, got):
                yards = ref.approximated(dtype, yards)
            self._record(way, draw, yards, got)

    def _beyond(self, way: str, draw: Draw, yards: list[Yardstick], got: Outputs) -> bool:
        legs = self._own_legs(way, draw, yards, got)
        return any(leg.max_abs > leg.bound > 0.0 for leg in legs)

    def _float64(self, ref: Reference, cand: Exact) -> None:
        """The structure check.

        What depends on constants alone (the softmax of a mix) may have been folded in float64 or
        as the network's own precision computes it; both are what the reference says.
        """
        draw, exact, own = ref.draw, ref.exact, ref.own(ref.network.dtype)
        got = self._attempt(draw, FLOAT64, lambda: cand.double(draw.tensors))
        if got is None:
            return
        errors = [rounding(o, e) for o, e in zip(own, exact, strict=True)]
        kinds = [o.dtype if _floats(o) else e.dtype for o, e in zip(own, exact, strict=True)]

        def legs(values: Outputs) -> list[Leg]:
            return [
                float64_leg(
                    self._name(i), draw.label, values[i], v, errors[i], kinds[i], cand.rounded
                )
                for i, v in enumerate(got)
            ]

        found = legs(exact)
        if not all(leg.passed for leg in found):
            settled = legs(ref.settled())
            if all(leg.passed for leg in settled):
                found = settled
        yards = [Yardstick(e, r) for e, r in zip(exact, errors, strict=True)]
        for leg, value in zip(found, got, strict=True):
            self._append(leg, value, yards)

    def _with_ways(self, draw: Draw) -> None:
        """Bounds where no float64 run of the reference exists.

        Its error is taken to be that of an exact candidate, or what its ways to run it change.
        """
        whole = {
            way: trusted(draw, self.keep, lambda w=way: self._run(self.ref, w, draw))  # type: ignore[misc]
            for way in self.ref.ways
        }
        for way, of_ref, of_cand in self._paired():
            got = self._attempt(draw, way, lambda w=of_cand: self._run(self.cand, w, draw))  # type: ignore[misc]
            if got is None:
                continue
            if self.cand.exact is not None:
                exact = self.cand.exact.double(draw.tensors)
                errors = [rounding(o, e) for o, e in zip(got, exact, strict=True)]
            else:
                errors = [
                    max((rounding(a, b) for a, b in combinations(values, 2)), default=0.0)
                    for values in zip(*whole.values(), strict=True)
                ]
            yards = [Yardstick(v, e) for v, e in zip(whole[of_ref], errors, strict=True)]
            self._record(way, draw, yards, got)

    def _paired(self) -> list[tuple[str, str, str]]:
        """What to call each comparison, and the ways of the reference and of the candidate."""
        ref, cand = self.ref.ways, self.cand.ways
        if ref == cand:
            return [(way, way, way) for way in ref]
        return [(f"{self.cand.runtime} against {a}", a, b) for a in ref for b in cand]

    def _record(self, way: str, draw: Draw, yards: list[Yardstick], got: Outputs) -> None:
        legs = self._own_legs(way, draw, yards, got)
        for leg, yard, value in zip(legs, yards, got, strict=False):
            if not yard.lost:
                self.sound.add((leg.output, leg.way))
            if leg.passed or leg.problem or not yard.lost or not yard.samples:
                self._append(leg, value, yards)
            else:
                self.lost.append(leg)
                self.notes.append(
                    f"output '{leg.output}' was not compared on {leg.inputs} ({leg.way}): there "
                    f"the reference's own rounding error is {yard.error / leg.scale:.1%} of it"
                )

    def judged(self) -> list[Leg]:
        """All legs; those that rounding decides only of outputs that have no sound ones."""
        return self.legs + [leg for leg in self.lost if (leg.output, leg.way) not in self.sound]

    def _own_legs(self, way: str, draw: Draw, yards: list[Yardstick], got: Outputs) -> list[Leg]:
        return [
            own_leg(self._name(i), way, draw.label, yard, value)
            for i, (yard, value) in enumerate(zip(yards, got, strict=False))
        ]

    def _append(self, leg: Leg, value: Tensor, yards: list[Yardstick]) -> None:
        self.legs.append(leg)
        if leg.passed:
            return
        for j, yard in enumerate(yards):
            other = self._name(j)
            if other == leg.output or mismatch(yard.value, value):
                continue
            if own_leg(other, leg.way, leg.inputs, yard, value).passed:
                self.failures.append(
                    f"outputs swapped: the candidate's '{leg.output}' holds the values of the "
                    f"reference's '{other}'"
                )

    def _attempt(
        self, draw: Draw, way: str, run: Callable[[], Outputs] | None = None
    ) -> Outputs | None:
        """What the candidate computes in this way, or None with the failure noted."""
        try:
            got = self._run(self.cand, way, draw) if run is None else run()
        except BadInput:
            raise
        except Exception as error:  # torch and onnxruntime raise many kinds
            self.unrun.append(Unrun(way, draw.label, one_line(error)))
            self.failures.append(str(self.unrun[-1]))
            return None
        if len(got) != len(self.keep):
            self.failures.append(f"the candidate has {len(got)} outputs, not {len(self.keep)}")
            return None
        return got

    def _run(self, side: Side, way: str, draw: Draw) -> Outputs:
        return side.run(way, self.input_names, draw)

    def _name(self, i: int) -> str:
        return self.ref.names[self.keep[i]]


def _floats(value: Tensor) -> bool:
    return value.dtype.is_floating_point
