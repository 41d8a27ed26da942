"""`report`: gathers the columns; the figures are those of `igc.analysis.cost`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from torch import nn

from igc.analysis import blocks
from igc.analysis.cost import Cost, cost
from igc.checkpoint.shards import with_shards
from igc.errors import BadInput, IgcError
from igc.onnx_files.cost import onnx_cost
from igc.program import Program
from igc.program.fixed import fixed_axes
from igc.program.gates import open_share, with_gates
from igc.reports.model import Column, Report

Network = nn.Module | Program | str | PathLike[str]
Paths = str | PathLike[str] | Sequence[str | PathLike[str]]
Files = Mapping[str, Paths]


def report(
    reference: Network,
    static: Network | None = None,
    *,
    files: Files | None = None,
    references: bool = True,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Report:
    """What `reference` costs, against its static network and the two references of its gates.

    `reference` and `static` are modules, programs, or paths of what `igc.save` wrote; a reference
    that is gated is compiled where `static` is not given. A path to an ONNX file, or a static
    network alone, gives a report with one column. `files` names files whose sizes to show, by
    column. `references=False` leaves out "all_open" and "all_closed", which cost a compilation
    each. `input_shapes` gives, by input name, the dynamic sizes that an ONNX file leaves open.
    Everything is counted at batch 1, from shapes alone. Raises `BadInput`.
    """
    sizes = _file_sizes(files)
    label = _label(reference)
    if isinstance(reference, (str, PathLike)) and fspath(reference).lower().endswith(".onnx"):
        if static is not None:
            raise BadInput("report: give the gated network first, then the static one")
        path = fspath(reference)
        return Report(
            label, {"onnx": Column(onnx_cost(path, input_shapes), files=_one(path))}, "onnx"
        )
    if isinstance(reference, (str, PathLike)):
        from igc.checkpoint import load

        sizes.setdefault("gated", {}).update(_one(fspath(reference)))
        reference = load(reference)
    given = as_program(reference, static)
    if static is None and is_static(reference):
        own = sizes.get("static", {}) | sizes.get("gated", {})
        return Report(label, {"static": Column(cost(given), files=own)}, "static")
    compiled, record = _compiled(given, static, sizes)
    columns = {
        "gated": Column(cost(given), files=sizes.get("gated", {})),
        "static": Column(compiled, files=sizes.get("static", {})),
    }
    if references:
        same_tasks = _only(given, compiled.outputs)
        columns["all_open"] = _reference(same_tasks, opened=True)
        columns["all_closed"] = _reference(same_tasks, opened=False)
    remarks = [dict(row) for row in record.get("remarks", ())]
    shares = open_share(given)
    return Report(
        network=label,
        columns=columns,
        main="static",
        open_share=shares,
        passes=tuple(record.get("passes", ())),
        opaque=tuple(_opaque(row, compiled) for row in remarks if row["kind"] == "opaque"),
        declined=tuple(
            {k: row[k] for k in ("layer", "op", "reason")}
            for row in remarks
            if row["kind"] == "declined"
        ),
        warnings=tuple(_warnings(given, columns, shares)),
    )


def as_program(network: Network, like: Network | None) -> Program:
    """The program of a network; a plain module is captured with the inputs of `like`."""
    if isinstance(network, nn.Module) and not hasattr(network, "to_program"):
        if like is None:
            raise BadInput(
                f"report: {type(network).__name__} carries no input shapes; "
                "give its static network as well: igc.report(net, igc.compile(net, inputs))"
            )
        from igc.capture import capture
        from igc.verification.draws import main_draws
        from igc.verification.inputs import of_program

        first, *_ = main_draws(of_program(as_program(like, None)))
        return capture(network, first.tensors)
    from igc.compiler import program_of

    return program_of(network)


def is_static(network: Network) -> bool:
    """Whether the network is what igc has compiled."""
    from igc.emit import StaticNetwork

    return isinstance(network, StaticNetwork)


def _compiled(
    given: Program, static: Network | None, sizes: dict[str, dict[str, int]]
) -> tuple[Cost, dict[str, Any]]:
    """The cost of the static network and the record of the passes that made it."""
    from igc.compiler import compile_program

    if static is None:
        program, record = compile_program(given)
        return cost(program), record.to_dict()
    if isinstance(static, (str, PathLike)):
        sizes.setdefault("static", {}).update(_one(fspath(static)))
        if fspath(static).lower().endswith(".onnx"):
            return onnx_cost(fspath(static)), {}
    program = as_program(static, None)
    kept = getattr(static, "record", None)
    if kept is None:  # a static network does not say how it was made: the passes are run anew
        _, kept = compile_program(_only(given, program.outputs))
    return cost(program), kept.to_dict()


def _only(given: Program, outputs: tuple[str, ...]) -> Program:
    """The program for these outputs alone, where the static network was compiled for fewer."""
    from igc.compiler import only

    if outputs == given.outputs or not set(outputs) <= set(given.outputs):
        return given
    return only(given, outputs)


def _reference(given: Program, *, opened: bool) -> Column:
    from igc.compiler import compile_program

    try:
        program, _ = compile_program(with_gates(given, opened=opened))
    except IgcError as error:
        return Column(None, why=str(error))
    return Column(cost(program))


def _opaque(row: dict[str, Any], compiled: Cost) -> dict[str, Any]:
    """An opaque op and what it costs in the static network: None where igc does not know."""
    same = [n for n in compiled.nodes if row["layer"] in (n.layer, n.name) and n.op == row["op"]]
    known = [n.macs for n in same if n.macs is not None]
    return {
        "layer": row["layer"],
        "op": row["op"],
        "reason": row["reason"],
        "macs": sum(known) if len(known) == len(same) else None,
    }


def _warnings(
    given: Program, columns: dict[str, Column], shares: dict[str, dict[str, float]]
) -> list[str]:
    from igc.program.health import finite_notes

    found = finite_notes(given) + blocks.warnings(given) + list(map(str, fixed_axes(given)))
    values = [share for by_task in shares.values() for share in by_task.values()]
    static, opened = columns["static"].cost, columns.get("all_open", Column(None)).cost
    if static is not None and opened is not None and opened.macs and values:
        mean = sum(values) / len(values)
        ratio = static.macs / opened.macs
        if mean <= 0.8 and ratio >= 0.97:
            found.append(
                f"the gates save almost nothing: {mean:.0%} of them are open, and the static "
                f"network needs {ratio:.0%} of the MACs of all-open single-task networks"
            )
    for name, column in columns.items():
        if column.cost is not None and column.cost.uncounted:
            found.append(
                f"{name}: the MACs of {', '.join(column.cost.uncounted)} are not known and count 0"
            )
    return found


def _label(network: Network) -> str:
    if isinstance(network, (str, PathLike)):
        return Path(network).name
    return "program" if isinstance(network, Program) else type(network).__name__


def _one(path: str) -> dict[str, int]:
    try:
        return {Path(path).name: Path(path).stat().st_size}
    except OSError as error:
        raise BadInput(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _file_sizes(files: Files | None) -> dict[str, dict[str, int]]:
    """Bytes by column and file name; raises `BadInput` for a column that no report has."""
    found: dict[str, dict[str, int]] = {}
    for column, path in (files or {}).items():
        if column not in ("gated", "static"):
            raise BadInput(f"report: files belong to 'gated' or 'static', not '{column}'")
        for each in [path] if isinstance(path, (str, PathLike)) else path:
            for file in with_shards(Path(each)):
                found.setdefault(column, {}).update(_one(fspath(file)))
    return found
