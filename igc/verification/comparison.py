"""Running both sides on one set of inputs after the other, and comparing output by output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from igc.errors import BadInput, one_line
from igc.verification.bounds import beyond, float64_leg, mismatch, own_leg
from igc.verification.channels import Axis, largest_of
from igc.verification.exercise import Exercise
from igc.verification.inputs import Draw
from igc.verification.reference import Reference, trusted
from igc.verification.result import Leg, Unrun
from igc.verification.side import Exact, Outputs, Side
from igc.verification.yardstick import Yardstick, rounding, yardstick


@dataclass
class Comparison:
    """Collects the legs. `keep` gives, for each output of the candidate, the reference's one.

    `lost` are the legs of channels that rounding decides, with a mask of these; `sound` tells by
    output and way which channels have been compared where it does not. `shares` is how large each
    channel of an output usually is, of the output's largest value. `misfits` are the draws that a
    side does not take, by reason.
    """

    ref: Side
    cand: Side
    input_names: Sequence[str]
    keep: Sequence[int]
    axes: Sequence[Axis] = ()
    legs: list[Leg] = field(default_factory=list)
    lost: list[tuple[Leg, Tensor]] = field(default_factory=list)
    sound: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    shares: dict[str, Tensor] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    unrun: list[Unrun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    misfits: dict[str, list[str]] = field(default_factory=dict)
    exercise: Exercise = field(default_factory=Exercise)
    _draws: dict[str, Draw] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.axes = self.axes or self.ref.channel_axes()

    def add(self, draw: Draw) -> None:
        """Runs both sides on `draw` and records every leg of every output.

        Raises `BadInput` where the reference does not run on it, unless igc chose its values.
        """
        for side in (self.ref, self.cand):
            misfit = side.takes(self.input_names, draw.tensors)
            if misfit:
                self.misfits.setdefault(misfit, []).append(draw.label)
                return
        self._draws[draw.label] = draw
        kept: tuple[list[Any], ...] = (self.legs, self.failures, self.lost, self.unrun)
        before, sound = [len(each) for each in kept], dict(self.sound)
        try:
            self._compare(draw)
        except BadInput as error:
            if not draw.optional:
                raise
            for each, length in zip(kept, before, strict=True):
                del each[length:]
            self.sound = sound
            self.notes.append(f"{draw.label} was not compared: {error}")

    def inputs_of(self, leg: Leg) -> tuple[Tensor, ...]:
        """The inputs that a leg was run on."""
        return self._draws[leg.inputs].tensors

    def told(self) -> list[str]:
        """The notes of the comparison."""
        unrun = (f"{'; '.join(labels)} was not run: {why}" for why, labels in self.misfits.items())
        return [*self.notes, *unrun, *self.exercise.notes()]

    def _compare(self, draw: Draw) -> None:
        if self.ref.exact is None:
            self._with_ways(draw)
        else:
            axes = [self.axes[i] for i in self.keep]
            self._with_exact(Reference(self.ref.exact, draw, self.keep, axes))

    def _with_exact(self, ref: Reference) -> None:
        """Bounds from what the reference's own precision loses against float64.

        On draws that are run in one way, float64 is asked only where the candidate is not within
        the bound of a reference that does not round.
        """
        draw, own = ref.draw, ref.dtype
        values = ref.own(own)
        self._seen(draw, values)
        if draw.spoilt is not None and not self._independent(ref, draw.spoilt):
            return
        if self.cand.exact is not None and not draw.once:
            self._float64(ref, self.cand.exact)
        for way in self.cand.ways_for(draw):
            got = self._attempt(draw, way)
            if got is None:
                continue
            runs = ref.runs(got)
            for dtype in dict.fromkeys(runs):
                if dtype != own:
                    self.notes.append(f"the reference is {own}, the candidate {dtype}")
            if draw.once:
                yards = self._marked(draw, ref.unmeasured(runs))
                if not self._beyond(way, draw, yards, got):
                    self._record(way, draw, yards, got)
                    continue
            yards = self._marked(draw, ref.yardsticks(runs))
            if self._beyond(way, draw, yards, got):
                yards = ref.sampled(runs, yards)
            if self.cand.approximates and self._beyond(way, draw, yards, got):
                yards = ref.approximated(runs, yards)
            self._record(way, draw, yards, got)

    def _seen(self, draw: Draw, values: Outputs) -> None:
        """Notes what the reference's outputs are like: how large, how varied."""
        for i, value in enumerate(values):
            name, axis = self._name(i), self.axes[self.keep[i]]
            if draw.spoilt is None:
                self.exercise.add(name, value, axis)
            if draw.usual and value.dtype.is_floating_point:
                self.shares[name] = larger_share(self.shares.get(name), value, axis)

    def _independent(self, ref: Reference, sample: int) -> bool:
        """Whether NaN or infinity in a sample leaves the reference's other samples as they were."""
        own, batch = ref.own(ref.dtype), len(ref.draw.clean[0])
        mixed = any(
            v.ndim == 0 or len(v) != batch or not _same(_without(v, sample), _without(c, sample))
            for v, c in zip(own, ref.clean(), strict=True)
        )
        if mixed:
            self.notes.append(
                f"{ref.draw.label} was not compared: the reference itself mixes samples"
            )
        return not mixed

    def _marked(self, draw: Draw, yards: list[Yardstick]) -> list[Yardstick]:
        """With the usual sizes of channels, and without what decides nothing on this draw.

        In a sample that holds NaN or infinity runtimes may differ (pooling skips NaN in one of
        them), and on inputs of igc's choice an output may be undefined.
        """
        found = []
        for i, yard in enumerate(yards):
            name, value = self._name(i), yard.value
            yard = replace(yard, share=self.shares.get(name))
            if draw.spoilt is not None:
                others = torch.ones(len(value), dtype=torch.bool)
                others[draw.spoilt] = False
                others = others.reshape(-1, *[1] * (value.ndim - 1)).expand(value.shape)
                yard = yard.only(others & value.isfinite())
            elif draw.once and not bool(value.isfinite().all()):
                yard = yard.only(value.isfinite())
                self.notes.append(
                    f"output '{name}' was not compared on {draw.label} where the reference is NaN "
                    "or infinite there"
                )
            found.append(yard)
        return found

    def _beyond(self, way: str, draw: Draw, yards: list[Yardstick], got: Outputs) -> bool:
        """Whether an output differs by more than its bound, and not in its shape or type alone."""
        legs = self._own_legs(way, draw, yards, got)
        return any(
            not leg.passed and not mismatch(yard.value, value)
            for leg, yard, value in zip(legs, yards, got, strict=True)
        )

    def _float64(self, ref: Reference, cand: Exact) -> None:
        """The structure check.

        What depends on constants alone (the softmax of a mix) may have been folded in float64 or
        as the network's own precision computes it; both are what the reference says.
        """
        draw, exact, own = ref.draw, ref.exact, ref.own(ref.dtype)
        got = self._attempt(draw, "float64 in torch", lambda: cand.double(draw.tensors))
        if got is None:
            return
        kinds = [o.dtype if _floats(o) else e.dtype for o, e in zip(own, exact, strict=True)]

        def yards(values: Outputs) -> list[Yardstick]:
            measured = [yardstick(o, e, a) for o, e, a in zip(own, exact, ref.axes, strict=True)]
            found = [replace(y, value=v) for y, v in zip(measured, values, strict=True)]
            return self._marked(draw, found)

        def legs(yards: list[Yardstick]) -> list[Leg]:
            return [
                float64_leg(self._name(i), draw.label, yards[i], v, kinds[i], cand.rounded)
                for i, v in enumerate(got)
            ]

        chosen = yards(exact)
        if not all(leg.passed for leg in legs(chosen)):
            settled = yards(ref.settled())
            if all(leg.passed for leg in legs(settled)):
                chosen = settled
        for leg, value in zip(legs(chosen), got, strict=True):
            self._append(leg, value, chosen)

    def _with_ways(self, draw: Draw) -> None:
        """Bounds where no float64 run of the reference exists.

        Its error is taken to be that of an exact candidate, or what its ways to run it change.
        """
        whole = {
            way: trusted(draw, self.keep, lambda w=way: self._run(self.ref, w, draw))  # type: ignore[misc]
            for way in self.ref.ways
        }
        self._seen(draw, next(iter(whole.values())))
        for way, of_ref, of_cand in self._paired():
            got = self._attempt(draw, way, lambda w=of_cand: self._run(self.cand, w, draw))  # type: ignore[misc]
            if got is None:
                continue
            axes = [self.axes[i] for i in self.keep]
            if self.cand.exact is not None:
                exact = self.cand.exact.double(draw.tensors)
                errors = [rounding(*each) for each in zip(got, exact, axes, strict=True)]
            else:
                values = zip(*whole.values(), strict=True)
                errors = [apart(v, axis) for v, axis in zip(values, axes, strict=True)]
            yards = [
                Yardstick(v, e, axis=a) for v, e, a in zip(whole[of_ref], errors, axes, strict=True)
            ]
            self._record(way, draw, self._marked(draw, yards), got)

    def _paired(self) -> list[tuple[str, str, str]]:
        """What to call each comparison, and the ways of the reference and of the candidate."""
        ref, cand = self.ref.ways, self.cand.ways
        if ref == cand:
            return [(way, way, way) for way in ref]
        return [(f"{self.cand.runtime} against {a}", a, b) for a in ref for b in cand]

    def _record(self, way: str, draw: Draw, yards: list[Yardstick], got: Outputs) -> None:
        for leg, yard, value in zip(
            self._own_legs(way, draw, yards, got), yards, got, strict=False
        ):
            if not _floats(yard.value) or mismatch(yard.value, value):
                self._append(leg, value, yards)
                continue
            lost, key = yard.lost, (leg.output, way)
            known = self.sound.get(key)
            same = known is not None and known.shape == lost.shape
            self.sound[key] = known | ~lost if same and known is not None else ~lost
            decided = lost & beyond(yard, value)
            if leg.passed or not yard.samples or not bool(decided.any()):
                self._append(leg, value, yards)
                continue
            self.lost.append((leg, decided))
            which = f"{int(decided.sum())} of {len(lost)} channels of " if len(lost) > 1 else ""
            self.notes.append(
                f"{which}output '{leg.output}' was not compared on {leg.inputs} ({leg.way}): there "
                f"the reference's own rounding error is "
                f"{float((yard.error / yard.scale)[decided].max()):.1%} of it"
            )
            if not bool(lost.all()):
                firm = yard.only(~lost)
                self._append(own_leg(leg.output, way, draw.label, firm, value), value, yards)

    def judged(self) -> list[Leg]:
        """All legs; those that rounding decides only of channels that have no sound ones."""
        return self.legs + [leg for leg, channels in self.lost if not self._sound(leg, channels)]

    def _sound(self, leg: Leg, channels: Tensor) -> bool:
        known = self.sound.get((leg.output, leg.way))
        return known is not None and known.shape == channels.shape and bool(known[channels].all())

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


def apart(values: Sequence[Tensor], axis: Axis) -> Tensor:
    """How far the ways to compute one output are apart at most, by channel; 0 for a single way."""
    pairs = [*combinations(values, 2), (values[0], values[0])]
    return torch.stack([rounding(a, b, axis) for a, b in pairs]).amax(0)


def larger_share(known: Tensor | None, value: Tensor, axis: Axis) -> Tensor:
    """How large each channel is, of the largest value, in these values or in those before."""
    found = largest_of(value, axis)
    top = found.max() if found.numel() else found.new_zeros(())
    found = found / top if bool(top > 0) else torch.zeros_like(found)
    return found if known is None or known.shape != found.shape else torch.maximum(found, known)


def _without(value: Tensor, sample: int) -> Tensor:
    return torch.cat([value[:sample], value[sample + 1 :]])


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _floats(value: Tensor) -> bool:
    return value.dtype.is_floating_point
