"""Torch's symbols for the sizes that an input chooses, and igc's names for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from igc.errors import BadInput

Axis = tuple[int, int]  # the number of an input, and an axis of it


def symbols_of(exported: ExportedProgram) -> dict[Axis, tuple[Any, ...]]:
    """For each axis that was left open: the symbol that torch made for it, and what that became."""
    placeholders = (n for n in exported.graph.nodes if n.op == "placeholder")
    specs = exported.graph_signature.input_specs
    values = [
        node.meta["val"]
        for node, spec in zip(placeholders, specs, strict=True)
        if spec.kind is InputKind.USER_INPUT
    ]
    found: dict[Axis, tuple[Any, ...]] = {}
    for number, value in enumerate(values):
        sizes: list[Any] = list(value.shape) if isinstance(value, Tensor) else []
        for axis, size in enumerate(sizes):  # typed as int, but a dynamic one is a SymInt
            if isinstance(size, torch.SymInt):
                found[number, axis] = tuple(dict.fromkeys((size.node._expr, size.node.expr)))
    return found


def dims_of(
    fake: Any, example: Tensor, sizes: dict[str, int], names: dict[str, str]
) -> tuple[int | str, ...]:
    """The dims of an input: numbers, or names of dynamic sizes.

    A name that is new is put into `names`, by torch's symbol, and its size in the example into
    `sizes`. Raises `ValueError` for a size that is computed from another input's.
    """
    if not isinstance(fake, Tensor):
        raise BadInput("inputs must be tensors")
    dims: list[int | str] = []
    fakes: list[Any] = list(fake.shape)  # typed as int, but a dynamic one is a SymInt
    for size, concrete in zip(fakes, example.shape, strict=True):
        if not isinstance(size, torch.SymInt):
            dims.append(int(size))
            continue
        expression = str(size.node.expr)
        if expression.isdigit():  # torch found that it has to be this number
            dims.append(int(expression))
            continue
        if not expression.isidentifier():
            raise ValueError(f"derived size {expression}")  # try again with fewer dynamic axes
        if expression not in names:
            names[expression] = _size_name(len(dims), len(fakes), set(names.values()))
        sizes[names[expression]] = int(concrete)
        dims.append(names[expression])
    return tuple(dims)


def _size_name(axis: int, rank: int, taken: set[str]) -> str:
    """A name for a dynamic size by where it is first seen: batch, height, width, else a number."""
    usual = "batch" if axis == 0 else {rank - 2: "height", rank - 1: "width"}.get(axis, "")
    if usual and usual not in taken and (axis == 0 or rank >= 4):
        return usual
    return f"size{len(taken)}"
