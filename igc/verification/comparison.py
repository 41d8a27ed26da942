"""Running both sides on one set of inputs after the other, and comparing output by output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import torch
from torch import Tensor

from igc.errors import BadInput, one_line
from igc.verification.bounds import FLOAT64, float64_leg
from igc.verification.channels import Axis
from igc.verification.counting import Counting, mixing
from igc.verification.inputs import Draw
from igc.verification.ledger import Ledger
from igc.verification.reference import Reference, trusted
from igc.verification.result import Leg, Unrun
from igc.verification.side import Exact, Outputs, Side
from igc.verification.yardstick import Yardstick, rounding, yardstick


@dataclass
class Comparison:
    """Runs both sides. `keep` gives, for each output of the candidate, the reference's one."""

    ref: Side
    cand: Side
    input_names: Sequence[str]
    keep: Sequence[int]
    ledger: Ledger = field(init=False)
    counting: Counting = field(init=False)
    _draws: dict[str, Draw] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, axes = [self.ref.names[i] for i in self.keep], self.ref.channel_axes()
        self.ledger = Ledger(names)
        self.counting = Counting(names, [axes[i] for i in self.keep])

    def add(self, draw: Draw) -> None:
        """Runs both sides on `draw` and records every leg of every output.

        Raises `BadInput` where the reference does not run on it, unless igc chose its values.
        """
        for side in (self.ref, self.cand):
            misfit = side.takes(self.input_names, draw.tensors)
            if misfit:
                self.ledger.misfits.setdefault(misfit, []).append(draw.label)
                return
        self._draws[draw.label] = draw
        undo = self.ledger.rollback()
        try:
            self._compare(draw)
        except BadInput as error:
            if not draw.optional:
                raise
            undo()
            self.ledger.notes.append(f"{draw.label} was not compared: {error}")

    def inputs_of(self, leg: Leg) -> tuple[Tensor, ...]:
        """The inputs that a leg was run on."""
        return self._draws[leg.inputs].tensors

    def told(self) -> list[str]:
        """What to say of it beside the legs."""
        counting = self.counting
        return [*self.ledger.told(), *counting.notes, *counting.exercise.notes()]

    def _compare(self, draw: Draw) -> None:
        if self.ref.exact is None:
            self._with_ways(draw)
        else:
            self._with_exact(Reference(self.ref.exact, draw, self.keep, self.counting.axes))

    def _with_exact(self, ref: Reference) -> None:
        """Bounds from what the reference's own precision loses against float64.

        On draws that are run in one way, float64 is asked only where the candidate is not within
        the bound of a reference that does not round.
        """
        draw, own, beyond = ref.draw, ref.dtype, self.ledger.beyond
        self.counting.see(draw, ref.own(own))
        mixed = mixing(ref)
        if self.cand.exact is not None and not draw.once:
            self._float64(ref, self.cand.exact)
        for way in self.cand.ways_for(draw):
            got = self._attempt(draw, way)
            if got is None:
                continue
            runs = ref.runs(got)
            for dtype in dict.fromkeys(runs):
                if dtype != own:
                    self.ledger.notes.append(f"the reference is {own}, the candidate {dtype}")
            if draw.once:
                yards = self.counting.counted(draw, ref.unmeasured(runs), mixed)
                if not beyond(way, draw.label, yards, got):
                    self.ledger.record(way, draw.label, yards, got)
                    continue
            yards = self.counting.counted(draw, ref.yardsticks(runs), mixed)
            if beyond(way, draw.label, yards, got):
                yards = ref.sampled(runs, yards)
            if self.cand.approximates and beyond(way, draw.label, yards, got):
                yards = ref.approximated(runs, yards)
            self.ledger.record(way, draw.label, yards, got)

    def _float64(self, ref: Reference, cand: Exact) -> None:
        """The structure check.

        What depends on constants alone (the softmax of a mix) may have been folded in float64 or
        as the network's own precision computes it; both are what the reference says.
        """
        draw, exact, own = ref.draw, ref.exact, ref.own(ref.dtype)
        got = self._attempt(draw, FLOAT64, lambda: cand.double(draw.tensors))
        if got is None:
            return
        names = self.ledger.names
        kinds = [o.dtype if _floats(o) else e.dtype for o, e in zip(own, exact, strict=True)]

        def yards(values: Outputs) -> list[Yardstick]:
            measured = [yardstick(*each) for each in zip(own, exact, ref.axes, strict=True)]
            found = [replace(y, value=v, firm=None) for y, v in zip(measured, values, strict=True)]
            return self.counting.counted(draw, found, [False] * len(found))

        def legs(yards: list[Yardstick]) -> list[Leg]:
            return [
                float64_leg(names[i], draw.label, yards[i], v, kinds[i], cand.rounded)
                for i, v in enumerate(got)
            ]

        chosen = yards(exact)
        if not all(leg.passed for leg in legs(chosen)):
            settled = yards(ref.settled())
            if all(leg.passed for leg in legs(settled)):
                chosen = settled
        for leg, value in zip(legs(chosen), got, strict=True):
            self.ledger.append(leg, value, chosen)

    def _with_ways(self, draw: Draw) -> None:
        """Bounds where no float64 run of the reference exists.

        Its error is taken to be that of an exact candidate, or what its ways to run it change.
        """
        whole = {
            way: trusted(draw, self.keep, lambda w=way: self._run(self.ref, w, draw))  # type: ignore[misc]
            for way in self.ref.ways
        }
        self.counting.see(draw, next(iter(whole.values())))
        for way, of_ref, of_cand in self._paired():
            got = self._attempt(draw, way, lambda w=of_cand: self._run(self.cand, w, draw))  # type: ignore[misc]
            if got is None:
                continue
            axes = self.counting.axes
            if self.cand.exact is not None:
                exact = self.cand.exact.double(draw.tensors)
                errors = [rounding(*each) for each in zip(got, exact, axes, strict=True)]
            else:
                values = zip(*whole.values(), strict=True)
                errors = [apart(v, axis) for v, axis in zip(values, axes, strict=True)]
            yards = [
                Yardstick(v, e, axis=a) for v, e, a in zip(whole[of_ref], errors, axes, strict=True)
            ]
            yards = self.counting.counted(draw, yards, [False] * len(yards))
            self.ledger.record(way, draw.label, yards, got)

    def _paired(self) -> list[tuple[str, str, str]]:
        """What to call each comparison, and the ways of the reference and of the candidate."""
        ref, cand = self.ref.ways, self.cand.ways
        if ref == cand:
            return [(way, way, way) for way in ref]
        return [(f"{self.cand.runtime} against {a}", a, b) for a in ref for b in cand]

    def _attempt(
        self, draw: Draw, way: str, run: Callable[[], Outputs] | None = None
    ) -> Outputs | None:
        """What the candidate computes in this way, or None with the failure noted."""
        try:
            got = self._run(self.cand, way, draw) if run is None else run()
        except BadInput:
            raise
        except Exception as error:  # torch and onnxruntime raise many kinds
            unrun = Unrun(way, draw.label, one_line(error))
            self.ledger.unrun.append(unrun)
            self.ledger.failures.append(str(unrun))
            return None
        if len(got) != len(self.keep):
            self.ledger.failures.append(
                f"the candidate has {len(got)} outputs, not {len(self.keep)}"
            )
            return None
        return got

    def _run(self, side: Side, way: str, draw: Draw) -> Outputs:
        return side.run(way, self.input_names, draw)


def apart(values: Sequence[Tensor], axis: Axis) -> Tensor:
    """How far the ways to compute one output are apart at most, by channel; 0 for a single way."""
    pairs = [*combinations(values, 2), (values[0], values[0])]
    return torch.stack([rounding(a, b, axis) for a, b in pairs]).amax(0)


def _floats(value: Tensor) -> bool:
    return value.dtype.is_floating_point
