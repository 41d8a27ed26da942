"""The legs of a verification as they come in: which count, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from igc.verification.bounds import beyond, mismatch, own_leg
from igc.verification.result import Leg, Unrun
from igc.verification.side import Outputs
from igc.verification.yardstick import Yardstick


@dataclass(frozen=True)
class Ledger:
    """What was found. `names` are the outputs that are compared, in order.

    `lost` are the legs of channels that rounding decides, with a mask of these; `sound` tells by
    output and way which channels have been compared where it does not. `misfits` are the draws
    that a side does not take, by reason.
    """

    names: Sequence[str]
    legs: list[Leg] = field(default_factory=list)
    lost: list[tuple[Leg, Tensor]] = field(default_factory=list)
    sound: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    unrun: list[Unrun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    misfits: dict[str, list[str]] = field(default_factory=dict)

    def rollback(self) -> Callable[[], None]:
        """Forgets, when called, what came in since now: legs, failures, and what was sound."""
        lists = (self.legs, self.lost, self.failures, self.unrun)
        lengths, sound = [len(each) for each in lists], dict(self.sound)

        def undo() -> None:
            for each, length in zip(lists, lengths, strict=True):
                del each[length:]  # type: ignore[attr-defined]
            self.sound.clear()
            self.sound.update(sound)

        return undo

    def own_legs(self, way: str, inputs: str, yards: list[Yardstick], got: Outputs) -> list[Leg]:
        """The leg of every output, recorded nowhere."""
        return [
            own_leg(name, way, inputs, yard, value)
            for name, yard, value in zip(self.names, yards, got, strict=True)
        ]

    def beyond(self, way: str, inputs: str, yards: list[Yardstick], got: Outputs) -> bool:
        """Whether an output differs by more than its bound, and not in its shape or type alone."""
        return any(
            not leg.passed and not mismatch(yard.value, value)
            for leg, yard, value in zip(
                self.own_legs(way, inputs, yards, got), yards, got, strict=True
            )
        )

    def record(self, way: str, inputs: str, yards: list[Yardstick], got: Outputs) -> None:
        """Takes the leg of every output; one that rounding decides is set aside, with a note."""
        legs = self.own_legs(way, inputs, yards, got)
        for leg, yard, value in zip(legs, yards, got, strict=True):
            if not yard.value.dtype.is_floating_point or mismatch(yard.value, value):
                self.append(leg, value, yards)
                continue
            lost, key = yard.lost, (leg.output, way)
            known = self.sound.get(key)
            self.sound[key] = ~lost if known is None or known.shape != lost.shape else known | ~lost
            decided = lost & beyond(yard, value)
            if leg.passed or not yard.samples or not bool(decided.any()):
                self.append(leg, value, yards)
                continue
            self._set_aside(leg, yard, decided)
            if not bool(lost.all()):
                firm = own_leg(leg.output, way, inputs, yard.only(~lost), value)
                self.append(firm, value, [replace(y, firm=None) for y in yards])

    def _set_aside(self, leg: Leg, yard: Yardstick, decided: Tensor) -> None:
        count = int(decided.sum())
        which = f"{count} of {len(decided)} channels of " if len(decided) > 1 else ""
        share = float((yard.error / yard.scale)[decided].max())
        self.lost.append((leg, decided))
        self.notes.append(
            f"{which}output '{leg.output}' was not compared on {leg.inputs} ({leg.way}): there "
            f"the reference's own rounding error is {share:.1%} of it"
        )

    def append(self, leg: Leg, value: Tensor, yards: list[Yardstick]) -> None:
        """Takes a leg; one that failed is looked at for the values of another output."""
        self.legs.append(leg)
        for other, yard in zip(self.names, yards, strict=True):
            if leg.passed or other == leg.output or mismatch(yard.value, value):
                continue
            if own_leg(other, leg.way, leg.inputs, yard, value).passed:
                self.failures.append(
                    f"outputs swapped: the candidate's '{leg.output}' holds the values of the "
                    f"reference's '{other}'"
                )

    def judged(self) -> list[Leg]:
        """All legs; those that rounding decides only of channels that have no sound ones."""
        return self.legs + [leg for leg, channels in self.lost if not self._sound(leg, channels)]

    def told(self) -> list[str]:
        """The notes."""
        unrun = (f"{'; '.join(labels)} was not run: {why}" for why, labels in self.misfits.items())
        return [*self.notes, *unrun]

    def _sound(self, leg: Leg, channels: Tensor) -> bool:
        known = self.sound.get((leg.output, leg.way))
        return known is not None and known.shape == channels.shape and bool(known[channels].all())
