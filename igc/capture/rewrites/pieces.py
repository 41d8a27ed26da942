"""Calls that return or take a list of tensors, as calls on each of them."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.context import Rewriting

aten = torch.ops.aten


def split(at: Rewriting) -> Any:
    """Every `split` and `chunk`: slices side by side, where torch has cut."""
    x, axis = at["self"], at.axis(at["self"], at["dim"])
    start: Any = 0
    pieces = []
    for number, piece in enumerate(at.facts[at.node].many):
        size = _size(at, number) if at.moves(x, axis) else piece.dims[axis]
        known = isinstance(start, int) and isinstance(size, int)
        end = start + size if known else at(operator.add, start, size)
        pieces.append(at.slice(x, axis, start, end))
        start = end
    return pieces


def _size(at: Rewriting, number: int) -> Any:
    """How long a piece is of an axis that grows with the input."""
    asked: Any = at.arguments.get("split_size", at.arguments.get("split_sizes"))
    if isinstance(asked, (list, tuple)):
        return at.now(asked[number])
    if asked is not None:  # the last piece ends with the axis, where a slice does too
        return at.now(asked)
    whole = at.size(at["self"], at.axis(at["self"], at["dim"]))
    if "chunks" in at.arguments:  # all as long as the first
        count, more = at["chunks"], 0
    else:
        count, more = at["sections"], number
    return at(operator.floordiv, at(operator.add, whole, count - 1 - more), count)


def unbind(at: Rewriting) -> Any:
    """The entries of an axis, one by one."""
    x, axis = at["self"], at.axis(at["self"], at["dim"])
    return [at(aten.select.int, x, axis, i) for i in range(at.dims(x)[axis])]


def stack(at: Rewriting) -> Any:
    """A `cat` along an axis that each part is given."""
    axis = at.axis(at.node, at["dim"])
    parts = [at(aten.unsqueeze.default, part, axis) for part in at["tensors"]]
    return at(aten.cat.default, parts, axis)


def meshgrid(at: Rewriting) -> Any:
    """Line i along axis i of a grid, or 1 and 0 swapped where the indexing is "xy"."""
    lines = at["tensors"]
    order = list(range(len(lines)))
    if len(lines) > 1 and at.arguments.get("indexing") == "xy":
        order[:2] = 1, 0
    sizes: list[fx.Node | int] = [1] * len(lines)
    for line, axis in zip(lines, order, strict=True):
        sizes[axis] = at.size(line, 0) if at.rank(line) else 1
    grids = []
    for line, axis in zip(lines, order, strict=True):
        shape = [-1 if a == axis else 1 for a in range(len(lines))]
        grids.append(at(aten.expand.default, at(aten.reshape.default, line, shape), sizes))
    return grids
