"""Numbers that are none: gates that are NaN are refused, weights that are not finite are told."""

from __future__ import annotations

import torch
from torch import Tensor

from igc.errors import BadCheckpoint, show
from igc.program.program import Program

SHOWN = 20  # tensors that are not finite


def check_gates(program: Program) -> None:
    """Raises `BadCheckpoint`, naming layer and task, if a gate is NaN: neither open nor closed."""
    for layer, by_task in program.gates.items():
        for task, name in by_task.items():
            if name not in program.constants:
                continue  # a static network still names the gates it was compiled from
            if not program.constants[name].is_floating_point():
                raise BadCheckpoint(
                    f"the gate of layer {show(layer)}, task {show(task)} is no real"
                )
            bad = int(torch.isnan(program.constants[name]).sum())
            if bad:
                raise BadCheckpoint(
                    f"the gate of layer {show(layer)}, task {show(task)} is NaN in {bad} of "
                    f"{program.constants[name].numel()} channels; train it again"
                )


def check_finite(program: Program) -> list[str]:
    """One line for every tensor of the program that holds NaN or infinite values."""
    return [line for name, t in program.constants.items() if (line := _not_finite(name, t))]


def finite_notes(program: Program) -> list[str]:
    """The lines of `check_finite` as notes for a report, twenty tensors at most."""
    lines = check_finite(program)
    notes = [f"not finite: {line}" for line in lines[:SHOWN]]
    more = len(lines) - SHOWN
    return [*notes, f"not finite: {more} tensors more"] if more > 0 else notes


def _not_finite(name: str, tensor: Tensor) -> str:
    if tensor.is_meta or not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        return ""
    nan, inf = int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum())
    found = [f"{n} {what}" for n, what in ((nan, "NaN"), (inf, "infinite")) if n]
    return f"{name}: {' and '.join(found)} of {tensor.numel()} values" if found else ""
