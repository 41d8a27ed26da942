"""`igc verify`: do a checkpoint and an ONNX file compute the same?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import load_network, only_results_on_stdout, print_json, require_file, say
from .options import Checkpoint, FullSize, Json, Key, Model, Tasks

if TYPE_CHECKING:
    from igc.verification import Check


def command(
    checkpoint: Checkpoint,
    candidate: Annotated[
        Path,
        typer.Argument(metavar="MODEL.onnx", show_default=False, help="The file to check."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            metavar="DATA.npz",
            show_default=False,
            help="Check on these arrays as well, one per network input, by name or in order. "
            "Always run: draws of batches 1 to 9, of several image sizes, of unusual values.",
        ),
    ] = None,
    only_inputs: Annotated[
        bool,
        typer.Option("--only-inputs", help="Check on the arrays of --inputs and nothing else."),
    ] = False,
    tasks: Tasks = None,
    model: Model = None,
    key: Key = None,
    full_size: FullSize = False,
    as_json: Json = False,
) -> None:
    """Check that an ONNX file computes what the checkpoint computes, and is declared like it.

    Both are run on a sample of inputs, the same in every run. That they agree there is no proof
    that they always do: `igc audit` derives every tensor of a file that igc wrote.

    Exit code 0: they agree. 1: they differ. 2: it could not be checked.

    Examples:

      igc verify gated.pt model.onnx

      igc verify gated.pt model.onnx --inputs pictures.npz --json
    """
    require_file(checkpoint)
    require_file(candidate)
    if data is not None:
        require_file(data)
    elif only_inputs:
        raise typer.BadParameter("--only-inputs needs the arrays of --inputs")
    with only_results_on_stdout():
        reference = load_network(checkpoint, model, key)
        import igc

        names = None if tasks is None else tasks.names
        check = igc.verify(
            reference, candidate, data, only=only_inputs, tasks=names, full=full_size
        )
        check = replace(check, reference=str(checkpoint))
        _require_compared(check, candidate)
    if as_json:
        print_json(check.to_dict())
    else:
        say(str(check))
    if not check.passed:
        raise typer.Exit(1)


def _require_compared(check: Check, candidate: Path) -> None:
    """Raises BadInput for a file that onnxruntime does not run: nothing could be compared."""
    from igc.errors import BadInput

    if check.unrun and not check.outputs:
        raise BadInput(f"{candidate} could not be checked: {check.unrun[0]}")
