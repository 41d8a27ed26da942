"""nn.Module -> Program, by `torch.export`; the only file of capture that calls it."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, default_decompositions, export

from igc.capture.asked import reads_values, refused
from igc.capture.composite import decompositions
from igc.capture.decided import constants_known
from igc.capture.in_place import functionalized
from igc.capture.normalize import SPELLED
from igc.capture.program import program_of
from igc.capture.questions import Question, questions
from igc.capture.rewrites.table import REWRITES
from igc.capture.running import unchanged
from igc.capture.symbols import Axis, symbols_of
from igc.ops import TABLE
from igc.program import Program
from igc.program.returned import structured

# What torch checks while it runs: nothing reads it, so it goes.
ASSERTIONS = (
    "aten._assert_tensor_metadata.default", "aten._assert_scalar.default",
    "aten.sym_constrain_range.default", "aten.sym_constrain_range_for_size.default",
    "aten._assert_async.msg",
)  # fmt: skip
# Ops that need no decomposition: they have a rule, or a uniform spelling, or are read as opaque.
UNDERSTOOD = {
    **TABLE,
    **{str(op): None for op in (*REWRITES, *SPELLED)},
    **dict.fromkeys((*ASSERTIONS, "aten.sym_size.int")),
}


@dataclass(frozen=True)
class Exported:
    """A program, what Python asked of its sizes, and torch's symbols for them.

    `symbols`, by number of the input and axis, has what torch made first and what that became.
    """

    program: Program
    questions: tuple[Question, ...]
    symbols: dict[Axis, tuple[Any, ...]]


def exported(
    module: nn.Module, inputs: tuple[Tensor, ...], axes: list[set[int]]
) -> Iterator[Exported]:
    """What `torch.export` makes of the module: several spellings of it where one may not hold.

    `axes` are those that may be dynamic, for each input; torch makes some of them fixed.
    """
    dynamic = tuple(dict.fromkeys(sorted(s), Dim.AUTO) for s in axes)
    args_name = _varargs(module)
    spec: Any = {args_name: dynamic} if args_name else dynamic
    with (
        _tracing(module) as asked, _structured(module), constants_known(module) as unknown,
    ):  # fmt: skip
        first = export(module, inputs, dynamic_shapes=spec, strict=False)
        graph = functionalized(first.graph, UNDERSTOOD)
    if unknown and reads_values(first.graph):
        raise refused(unknown[0])

    def found(program: Program) -> Exported:
        return Exported(program, tuple(asked), symbols_of(first))

    if graph is not None:
        yield found(program_of(module, first, graph, inputs))
        return
    *composite, least = decompositions(first.graph, UNDERSTOOD, default_decompositions())
    for table in composite:
        # Torch raises many kinds of errors here; the operations stay as they are then.
        program = None
        with suppress(Exception), _tracing(module):
            written = first.run_decompositions(table)
            program = program_of(module, written, written.graph, inputs)
        if program is not None:
            yield found(program)
    with _tracing(module):
        written = first.run_decompositions(least)
    yield found(program_of(module, written, written.graph, inputs))


@contextmanager
def _tracing(module: nn.Module) -> Iterator[list[Question]]:
    with (
        warnings.catch_warnings(), _no_remarks(), torch.no_grad(), questions() as asked,
        unchanged(module),
    ):  # fmt: skip
        warnings.simplefilter("ignore")
        yield asked


@contextmanager
def _structured(module: nn.Module) -> Iterator[None]:
    """Within, the module returns containers that torch and igc know (`igc.program.returned`)."""
    handle = module.register_forward_hook(lambda _, __, result: structured(result))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _no_remarks() -> Iterator[None]:
    """Torch logs, with a traceback each, inequalities of sizes that it could not simplify."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _varargs(module: nn.Module) -> str | None:
    """The name of forward's *args, where it takes its inputs that way."""
    for p in inspect.signature(module.forward).parameters.values():
        if p.kind is inspect.Parameter.VAR_POSITIONAL:
            return p.name
        return None
    return None
