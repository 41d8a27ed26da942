"""Running both sides on one set of inputs after the other, and comparing output by output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from igc.errors import BadInput, one_line
from igc.verification.bounds import (
    APPROXIMATED,
    Yardstick,
    float64_leg,
    mismatch,
    own_leg,
    rounded_otherwise,
    rounding,
)
from igc.verification.inputs import Draw
from igc.verification.onnx_side import LEVELS, OnnxFile
from igc.verification.result import Leg
from igc.verification.torch_side import Side, TorchSide

Outputs = list[Tensor]


@dataclass
class Comparison:
    """Collects the legs. `keep` gives, for each output of the candidate, the reference's one."""

    ref: Side
    cand: Side
    input_names: list[str]
    keep: list[int]
    legs: list[Leg] = field(default_factory=list)
    lost: list[Leg] = field(default_factory=list)
    sound: set[tuple[str, str]] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _draws: dict[str, Draw] = field(default_factory=dict)

    def add(self, draw: Draw) -> None:
        """Runs both sides on `draw` and records every leg of every output.

        Raises `BadInput` where the reference does not run on it, unless igc chose the image size.
        """
        for side in (self.ref, self.cand):
            misfit = (
                side.takes(self.input_names, draw.tensors) if isinstance(side, OnnxFile) else ""
            )
            if misfit:
                self.notes.append(f"{draw.label} was not run: {misfit}")
                return
        self._draws[draw.label] = draw
        before = len(self.legs), len(self.failures), len(self.lost), set(self.sound)
        try:
            if isinstance(self.ref, OnnxFile):
                self._from_onnx(self.ref, draw)
            else:
                self._from_torch(self.ref, draw)
        except BadInput as error:
            if not draw.resized:
                raise
            del self.legs[before[0] :], self.failures[before[1] :], self.lost[before[2] :]
            self.sound = before[3]
            self.notes.append(f"not compared at another image size: {error}")

    def inputs_of(self, leg: Leg) -> tuple[Tensor, ...]:
        """The inputs that a leg was run on."""
        return self._draws[leg.inputs].tensors

    def _from_torch(self, ref: TorchSide, draw: Draw) -> None:
        exact = self._trusted(draw, lambda: ref.double(draw.tensors))
        known: dict[torch.dtype, Outputs] = {}

        def own(dtype: torch.dtype) -> Outputs:
            if dtype not in known:
                known[dtype] = self._trusted(draw, lambda: ref.in_precision(draw.tensors, dtype))
            return known[dtype]

        if isinstance(self.cand, TorchSide):
            self._float64(ref, self.cand, draw, own(ref.dtype), exact)
        for way, run in self._ways(self.cand, draw):
            got = self._attempt(draw, way, run)
            if got is None:
                continue
            dtype = next((v.dtype for v in got if _floats(v)), ref.dtype)
            if dtype != ref.dtype:
                self.notes.append(f"the reference is {ref.dtype}, the candidate {dtype}")
            values = own(dtype)
            yards = [Yardstick(o, rounding(o, e), e) for o, e in zip(values, exact, strict=True)]
            if self._beyond(way, draw, yards, got):
                yards = self._sampled(ref, draw, dtype, yards)
            if isinstance(self.cand, OnnxFile) and self._beyond(way, draw, yards, got):
                yards = self._approximated(ref, draw, dtype, yards)
            self._record(way, draw, yards, got)

    def _beyond(self, way: str, draw: Draw, yards: list[Yardstick], got: Outputs) -> bool:
        legs = self._own_legs(way, draw, yards, got)
        return any(leg.max_abs > leg.bound > 0.0 for leg in legs)

    def _sampled(
        self, ref: TorchSide, draw: Draw, dtype: torch.dtype, yards: list[Yardstick]
    ) -> list[Yardstick]:
        """With the largest error that the reference makes on inputs rounded otherwise, too.

        One run is one sample of its rounding error, which can be small by luck.
        """
        for inputs in rounded_otherwise(draw.tensors, dtype):
            found = self._trusted(draw, lambda i=inputs: ref.in_precision(i, dtype))  # type: ignore[misc]
            yards = [yard.also(value) for yard, value in zip(yards, found, strict=True)]
        return yards

    def _approximated(
        self, ref: TorchSide, draw: Draw, dtype: torch.dtype, yards: list[Yardstick]
    ) -> list[Yardstick]:
        """With the largest error that it makes with functions like onnxruntime's, too."""
        for seed in range(APPROXIMATED):
            found = self._trusted(
                draw,
                lambda s=seed: ref.approximated(draw.tensors, dtype, s),  # type: ignore[misc]
            )
            yards = [
                replace(yard.also(value), approximated=True)
                for yard, value in zip(yards, found, strict=True)
            ]
        return yards

    def _float64(
        self, ref: TorchSide, cand: TorchSide, draw: Draw, own: Outputs, exact: Outputs
    ) -> None:
        """The structure check.

        What depends on constants alone (the softmax of a mix) may have been folded in float64 or
        as the network's own precision computes it; both are what the reference says.
        """
        got = self._attempt(draw, "float64 in torch", lambda: cand.double(draw.tensors))
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
            others = self._trusted(draw, lambda: ref.double(draw.tensors, settle=True))
            settled = legs(others)
            if all(leg.passed for leg in settled):
                found = settled
        yards = [Yardstick(e, r) for e, r in zip(exact, errors, strict=True)]
        for leg, value in zip(found, got, strict=True):
            self._append(leg, value, yards)

    def _from_onnx(self, ref: OnnxFile, draw: Draw) -> None:
        # No float64 run of an ONNX reference exists: its error is taken to be the torch
        # candidate's, or what graph optimisations change.
        whole = [self._trusted(draw, run) for _, run in self._ways(ref, draw)]
        cand = self.cand
        for (way, run), values in zip(self._onnx_ways(draw), whole, strict=True):
            got = self._attempt(draw, way, run)
            if got is None:
                continue
            if isinstance(cand, TorchSide):
                exact = cand.double(draw.tensors)
                errors = [rounding(o, e) for o, e in zip(got, exact, strict=True)]
            else:
                errors = [rounding(a, b) for a, b in zip(*whole, strict=True)]
            yards = [Yardstick(v, e) for v, e in zip(values, errors, strict=True)]
            self._record(way, draw, yards, got)

    def _ways(self, side: Side, draw: Draw) -> list[tuple[str, Callable[[], Outputs]]]:
        if isinstance(side, OnnxFile):
            names = self.input_names
            return [
                (way, lambda w=way: side.run(w, names, draw))  # type: ignore[misc]
                for way in LEVELS
            ]
        kind = str(side.dtype).removeprefix("torch.")
        return [(f"{kind} in torch", lambda: side.own(draw.tensors))]

    def _onnx_ways(self, draw: Draw) -> list[tuple[str, Callable[[], Outputs]]]:
        ways = self._ways(self.cand, draw)
        if len(ways) == len(LEVELS):
            return ways
        (run,) = (r for _, r in ways)
        return [(f"torch against {way}", run) for way in LEVELS]

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

    def _attempt(self, draw: Draw, way: str, run: Callable[[], Outputs]) -> Outputs | None:
        """What the candidate computes, or None with the failure noted."""
        try:
            got = run()
        except BadInput:
            raise
        except Exception as error:  # torch and onnxruntime raise many kinds
            self.failures.append(
                f"the candidate does not run ({way}, {draw.label}): {one_line(error)}"
            )
            return None
        if len(got) != len(self.keep):
            self.failures.append(f"the candidate has {len(got)} outputs, not {len(self.keep)}")
            return None
        return got

    def _trusted(self, draw: Draw, run: Callable[[], Outputs]) -> Outputs:
        """What the reference computes; raises `BadInput` where it does not run."""
        try:
            return self._kept(run())
        except BadInput:
            raise
        except Exception as error:  # as above
            raise BadInput(
                f"the reference does not run on {draw.label}: {one_line(error)}"
            ) from error

    def _kept(self, outputs: Outputs) -> Outputs:
        return [outputs[i] for i in self.keep]

    def _name(self, i: int) -> str:
        return self.ref.names[self.keep[i]]


def _floats(value: Tensor) -> bool:
    return value.dtype.is_floating_point
