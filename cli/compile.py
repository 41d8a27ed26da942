"""`igc compile`: from a checkpoint to a verified ONNX file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import render
from .common import (
    example_inputs,
    load_network,
    only_results_on_stdout,
    print_json,
    require_shapes,
    tell,
)
from .options import Checkpoint, FullSize, Input, Json, Key, Model, Tasks
from .parse import suffixes

if TYPE_CHECKING:
    from igc.passes import After

#: How the targets of a delivery are called here.
OPTIONS = {
    "onnx": "--out",
    "manifest": "manifest",
    "torch": "--torch-out",
    "source": "--source-out",
    "report": "--report",
}


def command(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="MODEL.onnx", show_default=False, help="The ONNX file."),
    ],
    model: Model = None,
    key: Key = None,
    shapes: Input = None,
    tasks: Tasks = None,
    torch_out: Annotated[
        Path | None,
        typer.Option(
            "--torch-out",
            metavar="F.pt",
            show_default=False,
            help="Also save the static network, for igc.load.",
        ),
    ] = None,
    source_out: Annotated[
        Path | None,
        typer.Option(
            "--source-out",
            metavar="DIR",
            show_default=False,
            help="Also write net.py and weights.safetensors, which need PyTorch but not igc.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="F.html",
            show_default=False,
            help=f"Also write the cost report, as its suffix says: {suffixes()}.",
        ),
    ] = None,
    no_verify: Annotated[
        bool,
        typer.Option("--no-verify", help="Skip the proof that gated and compiled agree."),
    ] = False,
    split_groups: Annotated[
        bool,
        typer.Option(
            "--split-groups",
            help="Make several convolutions of a grouped one whose groups need unequal widths: "
            "fewer weights and MACs, more operations.",
        ),
    ] = False,
    full_size: FullSize = False,
    print_after: Annotated[
        list[str] | None,
        typer.Option(
            "--print-after",
            metavar="PASS",
            show_default=False,
            help="Print the network as text to standard error as this pass leaves it (captured: as "
            "it comes; all: each time). May be given several times. IGC_DUMP=DIR writes one file "
            "a pass.",
        ),
    ] = None,
    stop_after: Annotated[
        str | None,
        typer.Option(
            "--stop-after",
            metavar="PASS",
            show_default=False,
            help="Run no pass behind this one. The network so far is verified and written like any "
            "other, so the first pass with which that fails is the one at fault.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile a gated network into a plain static one, verify it, and write it as ONNX.

    Beside MODEL.onnx lies MODEL.manifest.json, which tells of every tensor how it is made of the
    checkpoint's; `igc audit` checks it.

    All files are written under temporary names and renamed at the end: when compiling or
    verifying fails, nothing is written and older files stay as they were.

    Examples:

      igc compile gated.pt --out model.onnx

      igc compile gated.pt --out model.onnx --tasks seg,depth --report cost.html

      igc compile weights.pt --out model.onnx --model nets.py:make_net --input 1x3x224x224
    """
    from igc.reports.delivered import Targets

    inputs = example_inputs(shapes)
    targets = Targets(out, torch_out, source_out, report)
    wrong = targets.wrong(OPTIONS)
    if wrong:
        raise typer.BadParameter(wrong)
    targets.require_writable()
    require_shapes(checkpoint, model, inputs)
    after = _tracer(print_after or [], stop_after, split_groups)
    with only_results_on_stdout():
        network = load_network(checkpoint, model, key)
        import igc

        found = igc.deliver(
            network,
            out,
            inputs,
            tasks=None if tasks is None else tasks.names,
            torch=torch_out,
            source=source_out,
            report=report,
            verify=not no_verify,
            split_groups=split_groups,
            full_size=full_size,
            checkpoint=checkpoint,
            after=after,
            stop_after=stop_after,
        )
    left_out = {} if found.model is None else found.model.left_out
    tell(
        [
            f"output '{name}' is always {value!r}: the ONNX file has no such output"
            for name, value in left_out.items()
        ]
    )
    outcome = found.to_dict()
    outcome["written"] = {OPTIONS[name]: path for name, path in outcome["written"].items()}
    if as_json:
        print_json(outcome)
    else:
        render.compiled(outcome, [str(check) for check in found.checks.values()])
    if not found.passed:
        from igc.errors import CheckFailed

        raise CheckFailed(found.failure)


def _tracer(print_after: list[str], stop_after: str | None, split_groups: bool) -> After | None:
    """What shows the programs that were asked for; raises for a pass that there is not."""
    folder = os.environ.get("IGC_DUMP", "")
    if not print_after and stop_after is None and not folder:
        return None
    from igc.passes import PIPELINE, with_split_groups
    from igc.passes.tracing import Tracer, pass_named, stages

    pipeline = with_split_groups() if split_groups else PIPELINE
    if stop_after is not None:
        pass_named(stop_after, pipeline)
    shown = stages(print_after, pipeline)
    return Tracer(shown, sys.stderr.write, Path(folder) if folder else None)
