"""What a verification asks of each of its two sides, whatever runs the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from igc.program import Program
from igc.verification.channels import Axis
from igc.verification.inputs import Draw, Signature

Outputs = list[Tensor]
Memo = dict[Any, Outputs]  # what a reference computed, by precision and inputs


class Exact(Protocol):
    """A network that can be run in any precision: what bounds are derived from.

    `memo`, where given, keeps what was computed, for another comparison with the same network and
    inputs.
    """

    memo: Memo | None

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the network is used in."""

    @property
    def rounded(self) -> bool:
        """Whether constants that igc computed are stored in no more than the own precision."""

    @property
    def decided(self) -> Program:
        """The program with the decisions that depend on constants taken in the own precision."""

    def double(self, inputs: Sequence[Tensor], *, settle: bool = False) -> Outputs:
        """The outputs in float64; `settle`: constants as the own precision computes them."""

    def in_precision(self, inputs: Sequence[Tensor], dtype: torch.dtype) -> Outputs:
        """The outputs computed in `dtype`: by the network itself where that is its precision."""

    def approximated(
        self, inputs: Sequence[Tensor], dtype: torch.dtype, seed: int, *, sums: bool = False
    ) -> Outputs:
        """The outputs in `dtype`, functions as exact as onnxruntime's; `sums`: and means, too."""


class Side(Protocol):
    """A network that can be run: `TorchSide` is one, `OnnxSide` another.

    A further runtime is one file with one such class, and one row in `runtimes.RUNTIMES`. What has
    a body here is true of most of them.
    """

    label: str  # what to call it in a message

    @property
    def runtime(self) -> str:
        """The name of what runs it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways to run it in, by name; each is compared."""

    def signature(self, full: bool = False) -> Signature:
        """What it takes; `full`: at its example's image size, however long that takes."""

    def channel_axes(self) -> list[Axis]:
        """Which axis of each output holds its channels."""

    def ways_for(self, draw: Draw) -> tuple[str, ...]:
        """The ways to run a draw in: all, or the last one where that has to do."""
        return self.ways[-1:] if draw.once else self.ways

    def run(self, way: str, names: Sequence[str], draw: Draw) -> Outputs:
        """The outputs for a draw, whose tensors have these names. Raises what the runtime does."""

    @property
    def exact(self) -> Exact | None:
        """The network in any precision; None where there is only what the runtime computes."""
        return None

    @property
    def approximates(self) -> bool:
        """Whether functions are only as exact as `igc.onnx_files.approximations` says."""
        return False

    def takes(self, names: Sequence[str], inputs: Sequence[Tensor]) -> str:
        """Empty, or why it does not take inputs of these sizes."""
        return ""

    def prepare(self, names: Sequence[str], draws: Sequence[Draw]) -> None:
        """Told once, before anything is run, what will be."""
        return

    def require_deterministic(self, inputs: Sequence[Tensor]) -> None:
        """Raises `Refused` where two runs differ."""
        return

    def defects(self) -> list[str]:
        """What is wrong with it whatever it computes."""
        return []

    def misdeclared(self, reference: Exact, points: Sequence[Sequence[Tensor]]) -> list[str]:
        """What it declares of its inputs and outputs that is not the reference's.

        `points` are inputs of several sizes.
        """
        return []

    def notes(self) -> list[str]:
        """What to know of it that is no fault."""
        return []

    def company(self) -> list[str]:
        """Which files beside it are not of its run."""
        return []

    def idle(self) -> list[str]:
        """What of it did nothing on any of the inputs that it was run on."""
        return []

    def first_difference(
        self, reference: Exact, names: Sequence[str], inputs: Sequence[Tensor]
    ) -> str | None:
        """The first layer whose value is not the reference's, where its insides can be seen."""
        return None
