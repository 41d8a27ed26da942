"""The two networks that the gates span: every gate open, every gate closed."""

from __future__ import annotations

from dataclasses import replace

import torch

from igc.errors import BadInput
from igc.graph import Program


def with_gates(program: Program, *, opened: bool) -> Program:
    """The program with every known gate open (alpha = 1) or closed (alpha = -1).

    All open, each task has its own network; all closed, all tasks share one up to their heads.
    Raises `BadInput` where the program's gates are not known.
    """
    if not program.gates:
        raise BadInput("the gates of this network are not known; igc.nn names them")
    names = {name for by_task in program.gates.values() for name in by_task.values()}
    value = 1.0 if opened else -1.0
    constants = {
        name: torch.full_like(tensor, value) if name in names else tensor
        for name, tensor in program.constants.items()
    }
    return replace(program, constants=constants)


def open_share(program: Program) -> dict[str, dict[str, float]]:
    """The share of open gates by layer and task; empty where the gates are not known."""
    return {
        layer: {
            task: float(is_open(program.constants[n]).double().mean()) for task, n in by.items()
        }
        for layer, by in program.gates.items()
    }


def is_open(alpha: torch.Tensor) -> torch.Tensor:
    """Which gates are open, decided in the precision of `alpha`, as the network does."""
    return torch.sigmoid(alpha) > 0.5
