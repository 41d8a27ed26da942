"""Axes of the inputs that have one size only, and why: what the user's Python asked of it.

The note of a program holds a text for each, so that a checkpoint tells it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from igc.program.program import Program

_KEY = "fixed axis"


@dataclass(frozen=True)
class Fixed:
    """An axis of an input that is taken at `size` alone, and why."""

    input: str
    axis: int
    size: int
    why: str

    def __str__(self) -> str:
        return f"input '{self.input}' has to have {self.size} at axis {self.axis}: {self.why}"


def with_fixed(program: Program, why: Mapping[tuple[str, int], str]) -> Program:
    """The program whose note says why these axes, by input and number, are fixed."""
    said = {f"{_KEY} {axis} of {name}": text for (name, axis), text in why.items()}
    return replace(program, note={**program.note, **said}) if said else program


def fixed_axes(program: Program) -> list[Fixed]:
    """The axes whose fixed size has a reason, in order."""
    found = []
    for spec in program.inputs:
        for axis, size in enumerate(spec.dims):
            why = program.note.get(f"{_KEY} {axis} of {spec.name}")
            if isinstance(size, int) and isinstance(why, str):
                found.append(Fixed(spec.name, axis, size, why))
    return found
