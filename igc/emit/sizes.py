"""Names for dynamic sizes that a reader understands: batch, height, width."""

from __future__ import annotations

from igc.emit.names import Names
from igc.program import InputSpec, Program


def size_names(program: Program) -> dict[str, str]:
    """A telling name for each dynamic size, by where it first stands in the inputs.

    The first axis is the `batch`; behind the channels come `length`, or `height` and `width`, or
    `depth`, `height` and `width`. A second one of a kind gets a number.
    """
    names = Names(spec.name for spec in program.inputs)
    found: dict[str, str] = {}
    for spec in program.inputs:
        for axis, dim in enumerate(spec.dims):
            if isinstance(dim, str) and dim not in found:
                found[dim] = names.new(_role(spec, axis))
    return found


def _role(spec: InputSpec, axis: int) -> str:
    if axis == 0:
        return "batch"
    spatial = {3: ("length",), 4: ("height", "width"), 5: ("depth", "height", "width")}
    roles = spatial.get(len(spec.dims), ())
    return roles[axis - 2] if 0 <= axis - 2 < len(roles) else f"size{axis}"


def named_dims(program: Program) -> list[tuple[int | str, ...]]:
    """The dims of each input, dynamic ones by their telling names."""
    names = size_names(program)
    return [
        tuple(d if isinstance(d, int) else names[d] for d in spec.dims) for spec in program.inputs
    ]
