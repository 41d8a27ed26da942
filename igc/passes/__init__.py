"""The pipeline: one literal tuple of passes and the one loop that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from igc.analysis.layers import with_layers
from igc.passes.batchnorm import FoldBatchNorm
from igc.passes.cleanup import MergeDuplicates, RemoveDeadNodes
from igc.passes.fold import FoldConstants
from igc.passes.gathers import MoveGathersFirst
from igc.passes.layout import ChooseLayout
from igc.passes.order import OrderForMemory
from igc.passes.record import Record, Remark, Row
from igc.passes.slicing.slice_channels import SliceChannels
from igc.passes.split_groups import SplitGroups
from igc.passes.stacks import SpellOutStacks
from igc.passes.writes import SpellOutWrites
from igc.program import Program
from igc.program.lint import lint


class Pass(Protocol):
    """program -> program; the same object means "no change"."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def __call__(self, program: Program, record: Record) -> Program:
        """The rewritten program."""


After = Callable[[str, Program], None]

CAPTURED = "captured"  # what a program is called before any pass has seen it
PIPELINE: tuple[Pass, ...] = (
    FoldConstants(),
    SpellOutWrites(),
    SpellOutStacks(),
    SliceChannels(),
    FoldConstants("fold what is left", sliced=True),
    FoldBatchNorm(),
    MergeDuplicates(),
    ChooseLayout(),
    MoveGathersFirst(),
    RemoveDeadNodes(),
    OrderForMemory(),
)


def with_split_groups(pipeline: tuple[Pass, ...] = PIPELINE) -> tuple[Pass, ...]:
    """The pipeline in which groups of a convolution keep the widths that they need."""
    at = next(i for i, each in enumerate(pipeline) if isinstance(each, SliceChannels))
    return (*pipeline[:at], SplitGroups(), *pipeline[at:])


def run_passes(
    program: Program,
    record: Record,
    pipeline: tuple[Pass, ...] = PIPELINE,
    after: After | None = None,
    stop_after: str | None = None,
) -> Program:
    """The program after all passes, or after the pass of the name `stop_after`.

    Each result is shown to `after`, with the name of its pass, then linted and recorded.
    """
    program = with_layers(program)
    for each in pipeline:
        started = time.perf_counter()
        result = each(program, record)
        seconds = time.perf_counter() - started
        if after is not None:
            after(each.name, result)
        started = time.perf_counter()
        changed = result is not program
        if changed:
            lint(result, each.name)
        program = result
        record.rows.append(
            Row(
                each.name,
                len(program.graph.nodes),
                sum(c.numel() for c in program.constants.values()),
                seconds + time.perf_counter() - started,
                changed,
            )
        )
        if stop_after == each.name:
            break
    return program


__all__ = [
    "CAPTURED", "PIPELINE", "After", "Pass", "Record", "Remark", "Row", "lint", "run_passes",
    "with_split_groups",
]  # fmt: skip
