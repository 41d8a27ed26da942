"""The story of igc on one screen: load, capture, run the passes, emit."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch import nn
from torch.utils import _pytree as pytree

from igc.analysis.gates import refuse_open_questions
from igc.capture import Example, capture
from igc.checkpoint import load_program
from igc.emit import StaticNetwork, emit
from igc.emit.compilation import Compilation
from igc.errors import BadInput
from igc.passes import CAPTURED, PIPELINE, After, Pass, Record, run_passes, with_split_groups
from igc.passes.tracing import pass_named
from igc.program import Program
from igc.program.devices import device_of
from igc.program.digest import source_of
from igc.program.dtypes import without_autocast
from igc.program.health import check_gates
from igc.program.rebuild import with_outputs

Source = nn.Module | Program | str | os.PathLike[str]


def compile(  # the public name is igc.compile
    module_or_path: Source,
    example_inputs: Example | None = None,
    tasks: Sequence[str] | None = None,
    *,
    split_groups: bool = False,
) -> StaticNetwork:
    """Returns the plain static network that computes what the gated one computes.

    `module_or_path` is any module (its evaluation mode is compiled; it is left as it was) or the
    path of a file that `igc.save` wrote. `example_inputs`, a tensor or a tuple of tensors, is
    needed for a module. `tasks` keeps only these outputs, in the network's order. The result
    takes the same inputs and returns the same structure, in the same dtype and on the device of
    the module.

    A grouped convolution has groups of equal widths, so those that need less keep as much as the
    widest. `split_groups` makes several convolutions of one where that saves anything: fewer
    weights and MACs, more operations.

    Raises `BadInput` (a network torch cannot export, wrong inputs, unknown tasks),
    `BadCheckpoint` (a bad file) and `Refused` (a gate that is not a constant).
    """
    return compilation(module_or_path, example_inputs, tasks, split_groups=split_groups).static


def compilation(
    module_or_path: Source,
    example_inputs: Example | None = None,
    tasks: Sequence[str] | None = None,
    *,
    split_groups: bool = False,
    after: After | None = None,
    stop_after: str | None = None,
) -> Compilation:
    """As `compile`, with the programs before and after and the record of the passes.

    `after(name, program)` is shown the program as it was captured, which is called "captured", and
    what every pass made of it, under the pass's name; `stop_after` names the last pass to run.
    """
    whole = program_of(module_or_path, example_inputs)
    gated = whole if tasks is None else only(whole, tasks)
    pipeline = with_split_groups() if split_groups else PIPELINE
    program, record = compile_program(gated, pipeline, after, stop_after)
    static = emit(program)
    if isinstance(module_or_path, nn.Module):
        static.to(device_of(module_or_path))
    static.record = record
    from_file = not isinstance(module_or_path, (nn.Module, Program))
    static.compiled_from = source_of(
        whole,
        str(whole.note["source_sha256"]) if from_file else "",
        {"split_groups": split_groups, "stop_after": stop_after},
    )
    return Compilation(gated, program, static, record)


@without_autocast()
def compile_program(
    gated: Program,
    pipeline: tuple[Pass, ...] = PIPELINE,
    after: After | None = None,
    stop_after: str | None = None,
) -> tuple[Program, Record]:
    """The static program of a gated one, and the record of the passes."""
    last = None if stop_after is None else pass_named(stop_after, pipeline)
    record = Record()
    if after is not None:
        after(CAPTURED, gated)
    check_gates(gated)
    refuse_open_questions(gated)
    return run_passes(gated, record, pipeline, after, last), record


def program_of(source: Source, example_inputs: Example | None = None) -> Program:
    """The captured program of a module, a program or a path."""
    if isinstance(source, Program):
        return source
    if not isinstance(source, nn.Module):
        return load_program(source)
    own = getattr(source, "to_program", None)
    if example_inputs is not None:
        return capture(source, example_inputs)
    if own is None:
        raise BadInput("igc.compile: a module needs example_inputs, a tensor or tuple of tensors")
    program: Program = own()
    return program


def only(program: Program, tasks: Sequence[str]) -> Program:
    """The program with only the outputs of `tasks`, in the order in which it declares them."""
    unknown = [t for t in tasks if t not in program.outputs]
    if unknown or not tasks:
        raise BadInput(
            f"tasks: no output named {', '.join(map(repr, unknown)) or '(none given)'}; "
            f"the network has {', '.join(program.outputs)}"
        )
    kept = [name for name in program.outputs if name in tasks]
    return with_outputs(program, kept, pytree.tree_structure(dict.fromkeys(kept, 0)))
