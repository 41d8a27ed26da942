"""`igc demo`: the shipped gated network, compiled, verified and tried on real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import render
from .common import only_results_on_stdout, print_json, say
from .options import Json


def command(
    train: Annotated[
        bool, typer.Option("--train", help="Train the gated network anew first (minutes).")
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            metavar="N",
            show_default=False,
            help="With --train: train every network this long. Default: as for the shipped one.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where demo.onnx, its manifest, report.html and, with --train, gated.pt go.",
        ),
    ] = Path("igc-demo"),
    as_json: Json = False,
) -> None:
    """Compile the shipped gated network, verify it, report, and predict on held-out pictures.

    The network answers three questions about a picture of a person. Half a minute; no network
    connection needed.

    Examples:

      igc demo

      igc demo --train
    """
    if epochs is not None and not train:
        raise typer.BadParameter("--epochs goes with --train")
    from igc.files import check_writable_folder

    check_writable_folder(out)
    out.mkdir(exist_ok=True)
    with only_results_on_stdout():
        from igc.demo.run import run

        checkpoint, trained = None, None
        if train:
            from igc.demo.train import EPOCHS
            from igc.demo.train import train as train_network

            checkpoint = out / "gated.pt"
            trained = train_network(checkpoint, epochs or EPOCHS)
        found = run(out, checkpoint)
    outcome = {
        **found.to_dict(),
        "training": None if trained is None else trained.to_dict(),
        "html": str(found.html),
    }
    if as_json:
        print_json(outcome)
    else:
        if trained is not None:
            say(f"{trained}\n")
        render.demo(outcome, str(found.check))
