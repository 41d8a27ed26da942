"""`igc convert`: a weight file written anew, with its tensors alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import only_results_on_stdout, print_json, require_file, say, tell
from .options import Json, Key


def command(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS",
            show_default=False,
            help="A torch or safetensors file, or the .index.json of one in several files.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="F.safetensors",
            show_default=False,
            help="The file to write: .safetensors, .pt or .pth.",
        ),
    ],
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Write the tensors of a weight file anew, and nothing else that lies in it.

    Configs, dates and other objects beside the tensors are left out without being run.

    Examples:

      igc convert training.ckpt --out weights.safetensors

      igc convert training.ckpt --key model_ema --out weights.pt
    """
    require_file(weights)
    with only_results_on_stdout():
        from igc.checkpoint.convert import convert

        made = convert(weights, out, key)
        tell(made.notes)
    if as_json:
        found = {name: list(tensor.shape) for name, tensor in made.tensors.items()}
        print_json({"written": out, "tensors": found, "notes": list(made.notes)})
    else:
        say(f"{out}: {len(made.tensors)} tensors of {weights}")
