"""Squeezes that hang on a size: an axis goes where its size is 1, and stays where it is not.

`x.squeeze()` of features [batch, 8, 1, 1] gives [batch, 8], and [8] for a batch of 1. No program
says both, so a size that the user chooses is fixed at the example's where a squeeze would ask it.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from igc.capture.symbols import Axis
from igc.program import Program
from igc.program.nodes import layer_of
from igc.program.schema import bind, op_name
from igc.program.shapes import other_sizes, shapes


class AsksForSize(ValueError):
    """A squeeze of axes whose sizes the user chooses: `axes` of the inputs; `why` is one line."""

    def __init__(self, axes: set[Axis], why: str) -> None:
        super().__init__(why)
        self.axes, self.why = axes, why


def check_squeezes(program: Program) -> None:
    """Raises `AsksForSize` where a squeeze might find a dynamic size to be 1."""
    calls = [n for n in program.graph.nodes if op_name(n) == "squeeze"]
    if not calls or not program.sizes:
        return
    changed = other_sizes(program)
    at, other = shapes(program), shapes(program, changed)
    for node in calls:
        x = bind(node)["self"]
        asked = {
            (at[x].dims[a], other[x].dims[a])
            for a in _axes(node, len(at[x].dims))
            if at[x].dims[a] != other[x].dims[a]
        }
        if asked:
            pairs = {name: (size, changed[name]) for name, size in program.sizes.items()}
            names = {name for name, pair in pairs.items() if pair in asked}
            raise AsksForSize(_axes_of(program, names or set(program.sizes)), _why(node))


def _axes_of(program: Program, names: set[str]) -> set[Axis]:
    return {
        (number, axis)
        for number, spec in enumerate(program.inputs)
        for axis, dim in enumerate(spec.dims)
        if dim in names
    }


def _axes(node: fx.Node, rank: int) -> list[int]:
    given: Any = bind(node).get("dim", range(rank))
    return [a % rank for a in ([given] if isinstance(given, int) else given)] if rank else []


def _why(node: fx.Node) -> str:
    called = "squeeze()" if "dim" not in bind(node) else "squeeze"
    return (
        f"layer '{layer_of(node)}' calls {called}, which also drops that axis where its size is 1; "
        "name the other axes, as in squeeze((2, 3)), to keep it open"
    )
