"""What a reference computes on one set of inputs, and how far off it is itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from igc.errors import BadInput, one_line
from igc.verification.bounds import APPROXIMATED, Yardstick, rounded_otherwise, rounding
from igc.verification.inputs import Draw
from igc.verification.side import Exact, Outputs


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

    `exact` are the outputs in float64, computed at once: a reference that does not run is told
    before anything is said of the candidate.
    """

    network: Exact
    draw: Draw
    keep: Sequence[int]
    exact: Outputs = field(init=False)
    _own: dict[torch.dtype, Outputs] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.exact = self._run(lambda: self.network.double(self.draw.tensors))

    def settled(self) -> Outputs:
        """The same, constants being what the own precision makes of them."""
        return self._run(lambda: self.network.double(self.draw.tensors, settle=True))

    def own(self, dtype: torch.dtype) -> Outputs:
        """The outputs in `dtype`."""
        if dtype not in self._own:
            run = self.network.in_precision
            self._own[dtype] = self._run(lambda: run(self.draw.tensors, dtype))
        return self._own[dtype]

    def yardsticks(self, dtype: torch.dtype) -> list[Yardstick]:
        """What to compare outputs in `dtype` with."""
        pairs = zip(self.own(dtype), self.exact, strict=True)
        return [Yardstick(own, rounding(own, exact), exact) for own, exact in pairs]

    def sampled(self, dtype: torch.dtype, yards: list[Yardstick]) -> list[Yardstick]:
        """With the largest error that the reference makes on inputs rounded otherwise, too.

        One run is one sample of its rounding error, which can be small by luck.
        """
        for inputs in rounded_otherwise(self.draw.tensors, dtype):
            found = self._run(lambda i=inputs: self.network.in_precision(i, dtype))  # type: ignore[misc]
            yards = [yard.also(value) for yard, value in zip(yards, found, strict=True)]
        return yards

    def approximated(self, dtype: torch.dtype, yards: list[Yardstick]) -> list[Yardstick]:
        """With the largest error that it makes with functions like onnxruntime's, too."""
        run, inputs = self.network.approximated, self.draw.tensors
        for seed in range(APPROXIMATED):
            found = self._run(lambda s=seed: run(inputs, dtype, s))  # type: ignore[misc]
            yards = [
                replace(yard.also(value), approximated=True)
                for yard, value in zip(yards, found, strict=True)
            ]
        return yards

    def _run(self, run: Callable[[], Outputs]) -> Outputs:
        return trusted(self.draw, self.keep, run)
