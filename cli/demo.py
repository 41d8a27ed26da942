"""`igc demo`: the shipped gated network, compiled, verified and tried on real pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json


def command(
    train: Annotated[
        bool, typer.Option("--train", help="Train the gated network anew first (minutes).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile the shipped gated network, verify it, report, and predict on held-out pictures.

    Examples:

      igc demo

      igc demo --train
    """
    raise NotImplementedError
