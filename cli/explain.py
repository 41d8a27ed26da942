"""`igc explain`: why a channel, a layer or an op was kept."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import (
    example_inputs,
    load_network,
    only_results_on_stdout,
    print_json,
    require_shapes,
    say,
)
from .options import Checkpoint, Input, Json, Key, Model


def command(
    checkpoint: Checkpoint,
    layer: Annotated[
        str | None,
        typer.Argument(
            metavar="LAYER",
            show_default=False,
            help="One layer, by its name in the network. Default: every layer, in short.",
        ),
    ] = None,
    model: Model = None,
    key: Key = None,
    shapes: Input = None,
    as_json: Json = False,
) -> None:
    """Tell why a channel, a layer or an op was kept, and which rewrites declined.

    Examples:

      igc explain gated.pt

      igc explain gated.pt layer2.0.conv1
    """
    inputs = example_inputs(shapes)
    with only_results_on_stdout():
        require_shapes(checkpoint, model, inputs)
        network = load_network(checkpoint, model, key)
        import igc

        explanation = igc.explain(network, layer, inputs)
    if as_json:
        print_json(explanation.to_dict())
    else:
        say(str(explanation))
