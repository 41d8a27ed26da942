"""Which constants of a program hold its gates; the program with all of them open, or closed."""

from __future__ import annotations

from dataclasses import replace

import torch

from igc.errors import BadInput
from igc.nn.gates import is_open
from igc.program.program import Program


def with_gates(program: Program, *, opened: bool) -> Program:
    """The program with every known gate open (alpha = 1) or closed (alpha = -1).

    All open, each task has its own network; all closed, all tasks share one up to their heads.
    Raises `BadInput` where the program's gates are not known.
    """
    names = gate_constants(program)
    if not names:
        raise BadInput("the gates of this network are not known; igc.nn names them")
    value = 1.0 if opened else -1.0
    constants = {
        name: torch.full_like(tensor, value) if name in names else tensor
        for name, tensor in program.constants.items()
    }
    return replace(program, constants=constants)


def open_share(program: Program) -> dict[str, dict[str, float]]:
    """The share of open gates by layer and task; empty where the gates are not known."""
    known = gate_constants(program)
    return {
        layer: {
            task: float(is_open(program.constants[name]).double().mean())
            for task, name in by_task.items()
        }
        for layer, by_task in program.gates.items()
        if known.issuperset(by_task.values())
    }


def gate_constants(program: Program) -> set[str]:
    """The names of the constants that hold gates; none are left in a static network."""
    names = {name for by_task in program.gates.values() for name in by_task.values()}
    return names & set(program.constants)


def tasks_of(program: Program) -> tuple[str, ...]:
    """The names of the tasks: those of the gates where they are known, else of the outputs."""
    named = dict.fromkeys(task for by_task in program.gates.values() for task in by_task)
    return tuple(named) or program.outputs
