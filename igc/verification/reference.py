"""What a reference computes on one set of inputs, and how far off it is itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from igc.errors import BadInput, one_line
from igc.verification.channels import Axis
from igc.verification.inputs import Draw
from igc.verification.side import Exact, Outputs
from igc.verification.yardstick import Yardstick, rounded_otherwise, rounding, yardstick

APPROXIMATED = 2


def trusted(draw: Draw, keep: Sequence[int], run: Callable[[], Outputs]) -> Outputs:
    """What a reference computes, the outputs `keep`; raises `BadInput` where it does not run."""
    try:
        outputs = run()
        return [outputs[i] for i in keep]
    except BadInput:
        raise
    except Exception as error:  # torch and onnxruntime raise many kinds
        raise BadInput(f"the reference does not run on {draw.label}: {one_line(error)}") from error


@dataclass
class Reference:
    """One reference on one draw; `keep` says which of its outputs are compared, in order.

    `axes` are their channel axes. Everything is computed when it is first asked for.
    """

    network: Exact
    draw: Draw
    keep: Sequence[int]
    axes: Sequence[Axis]
    _own: dict[torch.dtype, Outputs] = field(default_factory=dict)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The precision that the reference is used in."""
        return self.network.dtype

    @cached_property
    def exact(self) -> Outputs:
        """The outputs in float64."""
        return self._run(lambda: self.network.double(self.draw.tensors))

    def settled(self) -> Outputs:
        """The same, constants being what the own precision makes of them."""
        return self._run(lambda: self.network.double(self.draw.tensors, settle=True))

    def own(self, dtype: torch.dtype) -> Outputs:
        """The outputs in `dtype`."""
        if dtype not in self._own:
            run = self.network.in_precision
            self._own[dtype] = self._run(lambda: run(self.draw.tensors, dtype))
        return self._own[dtype]

    def clean(self) -> Outputs:
        """The outputs in the own precision for the inputs without their NaN or infinity."""
        return self._run(lambda: self.network.in_precision(self.draw.clean, self.dtype))

    def runs(self, got: Outputs) -> list[torch.dtype]:
        """In which precision to run the reference, for each output of a candidate.

        Its own, where the output then has the candidate's type; else the candidate's. Whole numbers
        come from the run of the first output that is floating.
        """
        own = self.dtype
        found = [
            (own if o.dtype == v.dtype else v.dtype) if v.dtype.is_floating_point else None
            for o, v in zip(self.own(own), got, strict=True)
        ]
        whole = next((dtype for dtype in found if dtype is not None), own)
        return [dtype or whole for dtype in found]

    def unmeasured(self, runs: Sequence[torch.dtype]) -> list[Yardstick]:
        """What to compare outputs with, as if the reference did not round."""
        values = [self.own(dtype)[i] for i, dtype in enumerate(runs)]
        return [
            Yardstick(value, rounding(value, value, axis), axis=axis, measured=False)
            for value, axis in zip(values, self.axes, strict=True)
        ]

    def yardsticks(self, runs: Sequence[torch.dtype]) -> list[Yardstick]:
        """What to compare outputs with; `runs` is the precision of each."""
        values = [self.own(dtype)[i] for i, dtype in enumerate(runs)]
        return [yardstick(*each) for each in zip(values, self.exact, self.axes, strict=True)]

    def sampled(self, runs: Sequence[torch.dtype], yards: list[Yardstick]) -> list[Yardstick]:
        """With the largest error that the reference makes on inputs rounded otherwise, too.

        One run is one sample of its rounding error, which can be small by luck.
        """
        for dtype in dict.fromkeys(runs):
            for inputs in rounded_otherwise(self.draw.tensors, dtype, self.draw.flat):
                found = self._run(lambda i=inputs, d=dtype: self.network.in_precision(i, d))  # type: ignore[misc]
                yards = _also(yards, found, [run == dtype for run in runs])
        return yards

    def approximated(self, runs: Sequence[torch.dtype], yards: list[Yardstick]) -> list[Yardstick]:
        """With the largest error that it makes with functions like onnxruntime's, too."""
        run, draw = self.network.approximated, self.draw
        for dtype in dict.fromkeys(runs):
            for seed in range(APPROXIMATED):
                found = self._run(lambda s=seed, d=dtype: run(draw.tensors, d, s, sums=draw.flat))  # type: ignore[misc]
                yards = _also(yards, found, [r == dtype for r in runs])
        return [replace(yard, approximated=True) for yard in yards]

    def _run(self, run: Callable[[], Outputs]) -> Outputs:
        return trusted(self.draw, self.keep, run)


def _also(yards: list[Yardstick], found: Outputs, chosen: Sequence[bool]) -> list[Yardstick]:
    """The yardsticks, those that are chosen with one more run."""
    triples = zip(yards, found, chosen, strict=True)
    return [yard.also(value) if use else yard for yard, value, use in triples]
