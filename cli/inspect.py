"""`igc inspect`: what the gates of a network say, as bars."""

from __future__ import annotations

from . import render
from .common import load_network, only_results_on_stdout, print_json
from .options import Checkpoint, Json, Key, Model


def command(
    checkpoint: Checkpoint, model: Model = None, key: Key = None, as_json: Json = False
) -> None:
    """Show the share of open gates per layer and task, and each task's share in the mixes.

    Examples:

      igc inspect gated.pt

      igc inspect weights.pt --model nets.py:make_net --json
    """
    with only_results_on_stdout():
        network = load_network(checkpoint, model, key)
        import igc

        inspection = {**igc.inspect(network).to_dict(), "network": checkpoint.name}
    if as_json:
        print_json(inspection)
    else:
        render.inspection(inspection)
