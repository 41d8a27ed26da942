"""`igc verify`: do a checkpoint and an ONNX file compute the same?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zipfile import BadZipFile

import typer

from .common import example_inputs, load_network, only_results_on_stdout, print_json, require_file
from .options import Checkpoint, Input, Json, Model

if TYPE_CHECKING:
    from torch import Tensor


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
            help="Check on these arrays, one per network input, in order. Default: random inputs "
            "of the shapes the checkpoint knows.",
        ),
    ] = None,
    model: Model = None,
    shapes: Input = None,
    as_json: Json = False,
) -> None:
    """Check that an ONNX file computes what the checkpoint computes.

    Exit code 0: they agree. 1: they differ. 2: it could not be checked.

    Examples:

      igc verify gated.pt model.onnx

      igc verify gated.pt model.onnx --inputs pictures.npz --json
    """
    if data is not None and shapes:
        raise typer.BadParameter("give --inputs or --input, not both: both say what to feed")
    require_file(checkpoint)
    require_file(candidate)
    inputs = example_inputs(shapes) if data is None else read_arrays(data)
    with only_results_on_stdout():
        reference = load_network(
            checkpoint, model, needs_inputs=True, has_inputs=inputs is not None
        )
        import igc

        check = igc.verify(reference, candidate, inputs)
    if as_json:
        print_json(check.to_dict())
    else:
        typer.echo(str(check))
    if not check.passed:
        raise typer.Exit(1)


def read_arrays(path: Path) -> tuple[Tensor, ...]:
    """Returns the arrays of an .npz file as tensors, in the order they were saved in.

    Raises BadInput when the file is damaged, empty, or holds Python objects, which are not read.
    """
    require_file(path)
    import numpy as np
    import torch

    from igc.errors import BadInput

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in file.files]
        tensors = tuple(torch.from_numpy(array) for array in arrays)
    except (ValueError, TypeError, AttributeError, OSError, EOFError, BadZipFile) as error:
        raise BadInput(f"{path} is no .npz file of plain arrays ({error})") from None
    if not tensors:
        raise BadInput(f"{path} holds no arrays; save one per network input")
    return tensors
