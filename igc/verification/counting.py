"""What counts on one set of inputs: usual sizes of channels, elements that decide something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from igc.verification.channels import Axis, largest_of
from igc.verification.exercise import Exercise
from igc.verification.inputs import Draw
from igc.verification.reference import Reference
from igc.verification.side import Outputs
from igc.verification.yardstick import Yardstick


@dataclass
class Counting:
    """What the reference's outputs, `names`, are like. `axes` are those of their channels.

    `shares` is how large each channel of an output usually is, of the output's largest value.
    """

    names: Sequence[str]
    axes: Sequence[Axis]
    shares: dict[str, Tensor] = field(default_factory=dict)
    exercise: Exercise = field(default_factory=Exercise)
    notes: list[str] = field(default_factory=list)

    def see(self, draw: Draw, values: Outputs) -> None:
        """Takes note of the reference's outputs: how large, how varied."""
        for name, value, axis in zip(self.names, values, self.axes, strict=True):
            if draw.spoilt is None:
                self.exercise.add(name, value, axis)
            if draw.usual and value.dtype.is_floating_point:
                self.shares[name] = larger_share(self.shares.get(name), value, axis)

    def counted(self, draw: Draw, yards: list[Yardstick], mixed: Sequence[bool]) -> list[Yardstick]:
        """With the usual sizes of channels, and without what decides nothing on this draw.

        In a sample that holds NaN or infinity runtimes may differ (pooling skips NaN in one of
        them), and on inputs of igc's choice an output may be undefined. `mixed` are outputs that
        such a sample changes in others, too.
        """
        found = []
        for name, yard, mixes in zip(self.names, yards, mixed, strict=True):
            finite = yard.value.isfinite()
            yard = replace(yard, share=self.shares.get(name))
            if mixes:
                yard = yard.only(torch.zeros_like(finite))
                self.notes.append(
                    f"output '{name}' was not compared on {draw.label}: the reference itself mixes "
                    "samples there"
                )
            elif draw.spoilt is not None:
                others = torch.ones_like(finite)
                others[draw.spoilt] = False
                yard = yard.only(others & finite)
            elif draw.once and not bool(finite.all()):
                yard = yard.only(finite)
                self.notes.append(
                    f"output '{name}' was not compared on {draw.label} where the reference is NaN "
                    "or infinite"
                )
            found.append(yard)
        return found


def mixing(ref: Reference) -> list[bool]:
    """For each output, whether NaN or infinity in a sample changes other samples of it as well."""
    own, sample = ref.own(ref.dtype), ref.draw.spoilt
    if sample is None:
        return [False] * len(own)
    batch = len(ref.draw.clean[0])
    return [
        v.ndim == 0 or len(v) != batch or not _same(_without(v, sample), _without(c, sample))
        for v, c in zip(own, ref.clean(), strict=True)
    ]


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
