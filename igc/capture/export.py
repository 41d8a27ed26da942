"""nn.Module -> Program, by `torch.export`; the only file of capture that calls it."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, default_decompositions, export

from igc.capture.composite import decompositions
from igc.capture.in_place import functionalized
from igc.capture.normalize import AS_RESHAPE
from igc.capture.program import program_of
from igc.capture.rewrites.table import REWRITES
from igc.capture.squeezes import AsksForSize
from igc.capture.symbols import bounded_symbols
from igc.errors import BadInput, IgcError, one_line
from igc.ops import TABLE
from igc.program import Program
from igc.program.devices import beside, on_cpu
from igc.program.dtypes import without_autocast
from igc.program.returned import structured
from igc.program.shapes import other_sizes, shapes, single

Example = Tensor | Sequence[Tensor]

# What torch checks while it runs: nothing reads it, so it goes.
ASSERTIONS = (
    "aten._assert_tensor_metadata.default", "aten._assert_scalar.default",
    "aten.sym_constrain_range.default", "aten.sym_constrain_range_for_size.default",
    "aten._assert_async.msg",
)  # fmt: skip
# Ops that need no decomposition: they have a rule, or a uniform spelling, or are read as opaque.
UNDERSTOOD = {
    **TABLE,
    **{str(op): None for op in (*REWRITES, *AS_RESHAPE)},
    **dict.fromkeys((*ASSERTIONS, "aten.sym_size.int")),
}


def as_inputs(example_inputs: Any) -> tuple[Tensor, ...]:
    """The example inputs as a tuple of tensors; raises `BadInput` for anything else."""
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    if not isinstance(inputs, (tuple, list)) or not inputs:
        raise BadInput(
            "example_inputs: give one tensor or a tuple of tensors, "
            f"got {type(example_inputs).__name__}"
        )
    for i, tensor in enumerate(inputs):
        if not isinstance(tensor, Tensor):
            raise BadInput(f"example_inputs[{i}]: expected a tensor, got {type(tensor).__name__}")
    return tuple(inputs)


@without_autocast()
def capture(module: nn.Module, example_inputs: Example) -> Program:
    """The program that `module` runs in evaluation mode on inputs like `example_inputs`.

    The batch (the first dim of every input) is dynamic where the network allows it, and so are
    the height and width of image-like inputs. Parameters are shared with the module, not copied
    (unless it is on another device: programs are on the CPU); the module itself is left as it
    was. Raises `BadInput` where torch cannot export the module.
    """
    inputs = beside(module, as_inputs(example_inputs))
    with unchanged(module):
        module.eval()
        return on_cpu(_capture(module, inputs))


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Afterwards every attribute of the module and its children is what it was before.

    Modes are, and what a forward stores for the next one: tables by image size or by device, say.
    Stored while torch traces, these would hold tensors without data, and spoil the next run.
    """
    before = [
        (
            m,
            dict(vars(m)),
            {k: v.copy() for k, v in vars(m).items() if type(v) in (dict, list, set)},
        )
        for m in module.modules()
    ]
    try:
        yield
    finally:
        for m, attributes, contents in before:
            vars(m).clear()
            vars(m).update(attributes)
            for name, content in contents.items():
                held = attributes[name]
                held.clear()
                held.extend(content) if isinstance(held, list) else held.update(content)


def _run_once(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Say it in the user's words where the inputs do not fit the module."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad(), unchanged(module):
            module(*(mode.from_tensor(x) for x in inputs))
    except torch._subclasses.fake_tensor.DataDependentOutputException:
        return  # export says more about this one, with the line
    except Exception as error:
        shapes_ = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise BadInput(
            f"{type(module).__name__} does not accept inputs of shape {shapes_}: {one_line(error)}"
        ) from error


def _capture(module: nn.Module, inputs: tuple[Tensor, ...]) -> Program:
    wide = tuple(
        x.repeat(2, *[1] * (x.ndim - 1)) if x.ndim and x.shape[0] == 1 else x for x in inputs
    )
    last: Exception = BadInput("no attempt")
    attempts = _dynamic_attempts(wide)
    first, fixed = attempts[0], list[str]()
    while attempts:
        axes = attempts.pop(0)
        given = tuple(w if 0 in s else x for w, x, s in zip(wide, inputs, axes, strict=True))
        try:
            return _noted(_checked(module, given, axes), fixed)
        except IgcError:
            raise
        except AsksForSize as error:
            fixed.append(error.why)
            attempts = [_without(axes, error.names), *attempts]
            last = error
        except Exception as error:  # torch.export raises many kinds; the last is reported
            if axes is first:
                _run_once(module, inputs)
            last = error
    raise BadInput(
        f"{type(module).__name__}: torch.export cannot capture it: {one_line(last)}"
    ) from last


def _without(axes: list[set[int]], names: set[str]) -> list[set[int]]:
    """The dynamic axes without those of these sizes: the batch, the others, or both."""
    batch, others = "batch" in names, not names <= {"batch"}
    return [{a for a in s if not (batch if a == 0 else others)} for s in axes]


def _noted(program: Program, fixed: list[str]) -> Program:
    """The program with a note on why its sizes are fixed."""
    if not fixed:
        return program
    return replace(program, note={**program.note, "fixed": tuple(dict.fromkeys(fixed))})


def _dynamic_attempts(inputs: tuple[Tensor, ...]) -> list[list[set[int]]]:
    """Which axes to try as dynamic, most ambitious first."""
    images = [({0, *range(2, x.ndim)} if x.ndim >= 4 else {0}) if x.ndim else set() for x in inputs]
    batch: list[set[int]] = [{0} if x.ndim else set() for x in inputs]
    none: list[set[int]] = [set() for _ in inputs]
    attempts = [images, batch, none]
    return [a for i, a in enumerate(attempts) if a not in attempts[:i]]


def _checked(module: nn.Module, inputs: tuple[Tensor, ...], axes: list[set[int]]) -> Program:
    """Exported, and shown to hold at other sizes; at another batch where the first misled torch."""
    other = tuple(x.repeat(7, *[1] * (x.ndim - 1)) if x.ndim else x for x in inputs)
    last: Exception | None = None
    for given in (inputs, other):
        for program in _exported(module, given, axes):
            try:
                _check_dynamic(program)
                return program
            except RuntimeError as error:
                last = error
    assert last is not None
    raise last


def _check_dynamic(program: Program) -> None:
    """The graph must hold at other sizes too, or the sizes were not dynamic after all.

    Torch takes sizes that agree in the example for the same: half a height of 6 for a batch of 2.
    At a batch of one they differ, whatever the other sizes.
    """
    if program.sizes:
        shapes(program, other_sizes(program))
        shapes(program, single(program))


def _exported(
    module: nn.Module, inputs: tuple[Tensor, ...], axes: list[set[int]]
) -> Iterator[Program]:
    """What `torch.export` makes of the module: several spellings of it where one may not hold."""
    dynamic = tuple(dict.fromkeys(sorted(s), Dim.AUTO) for s in axes)
    args_name = _varargs(module)
    spec: Any = {args_name: dynamic} if args_name else dynamic
    with _tracing(module), _structured(module):
        exported = export(module, inputs, dynamic_shapes=spec, strict=False)
        graph = functionalized(exported.graph, UNDERSTOOD)
    if graph is not None:
        yield program_of(module, exported, graph, inputs)
        return
    *composite, least = decompositions(exported.graph, UNDERSTOOD, default_decompositions())
    for table in composite:
        # Torch raises many kinds of errors here; the operations stay as they are then.
        program = None
        with suppress(Exception), _tracing(module):
            written = exported.run_decompositions(table)
            program = program_of(module, written, written.graph, inputs)
        if program is not None:
            yield program
    with _tracing(module):
        exported = exported.run_decompositions(least)
    yield program_of(module, exported, exported.graph, inputs)


@contextmanager
def _tracing(module: nn.Module) -> Iterator[None]:
    with (
        warnings.catch_warnings(), _no_remarks(), torch.no_grad(), bounded_symbols(),
        unchanged(module),
    ):  # fmt: skip
        warnings.simplefilter("ignore")
        yield


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
