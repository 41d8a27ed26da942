"""Whether an ONNX file computes what the static network does that it was written from.

The quick proof, for a file that is about to be put in place: two batches, a small image size, one
level of graph optimisation. Its bounds are those of every verification.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from igc.emit import StaticNetwork
from igc.emit.torch.static import runnable
from igc.errors import CheckFailed
from igc.verification.bounds import own_leg
from igc.verification.comparison import Comparison
from igc.verification.draws import quick_draws
from igc.verification.inputs import Draw, of_program
from igc.verification.onnx_side import LEVELS, OnnxSide
from igc.verification.torch_side import TorchSide
from igc.verification.yardstick import Yardstick, rounding

BUDGET = 1_000_000_000  # MACs per picture
WAY = "onnxruntime, graph optimisations on"


@dataclass(frozen=True)
class Agreement:
    """A judge of ONNX files, as `write_onnx` asks for one; it runs the network itself once."""

    static: StaticNetwork

    def __call__(self, path: Path) -> None:
        """Raises `CheckFailed` for a file that does not compute what the static network does.

        Every output is compared: its name, its type, its shape and its values. Raises `BadInput`
        where the network itself does not run.
        """
        network, chosen = self.asked
        names = [spec.name for spec in network.program.inputs]
        file = OnnxSide(str(path), {WAY: LEVELS[WAY]})
        file.prepare(names, chosen)
        comparison = Comparison(network, file, names, range(len(network.names)))
        wrong = next(_complaints(comparison, network, file, chosen), None)
        if comparison.ledger.unrun:
            raise CheckFailed(
                f"onnxruntime cannot run the ONNX file: {comparison.ledger.unrun[0].reason}"
            )
        if wrong is not None:
            raise CheckFailed(
                f"the ONNX file does not compute what the static network does: {wrong}"
            )

    @cached_property
    def asked(self) -> tuple[TorchSide, list[Draw]]:
        """The network to compare with, and what to run both on."""
        network = runnable(self.static)
        side = TorchSide("static network", network.to_program(), network, memo={})
        return side, quick_draws(of_program(side.program, budget=BUDGET))


def _complaints(
    comparison: Comparison, network: TorchSide, file: OnnxSide, chosen: Sequence[Draw]
) -> Iterator[str]:
    if file.names != network.names:
        yield f"its outputs are {', '.join(file.names)}, not {', '.join(network.names)}"
    for draw in chosen:
        misfit = file.takes(comparison.input_names, draw.tensors)
        if misfit:
            yield f"{draw.label} was not run: {misfit}"
        if not _within_floor(comparison, network, file, draw):
            comparison.add(draw)
    own = network.in_precision(chosen[0].tensors, network.dtype)
    for name, value, kind in zip(network.names, own, file.kinds, strict=True):
        if value.dtype != kind:
            yield f"output '{name}' is {kind}, not {value.dtype}"
    yield from (leg.describe() for leg in comparison.ledger.judged() if not leg.passed)
    yield from comparison.ledger.failures


def _within_floor(comparison: Comparison, network: TorchSide, file: OnnxSide, draw: Draw) -> bool:
    """Whether the outputs are within what the bound leaves a network that rounds nothing.

    Most files are; the float64 run that tells the network's own rounding is not needed then.
    """
    try:
        own = network.in_precision(draw.tensors, network.dtype)
        got = file.run(WAY, comparison.input_names, draw)
    except Exception:  # torch and onnxruntime raise many kinds; the comparison says what
        return False
    return len(own) == len(got) and all(
        a.dtype == b.dtype
        and own_leg(name, WAY, draw.label, Yardstick(a, rounding(a, a, axis), axis=axis), b).passed
        for name, axis, a, b in zip(network.names, comparison.counting.axes, own, got, strict=True)
    )
