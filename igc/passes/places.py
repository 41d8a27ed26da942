"""Places that a constant tells: which channels of which axis a call reads or writes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from igc.ops import Facts
from igc.program.nodes import args_of

aten = torch.ops.aten
Numbers = NDArray[np.int64]
REPEATING = (aten.expand.default, aten.repeat.default)


class Unknown(Exception):
    """The places are not constant channels of one axis; the text says why."""


def along(x: fx.Node, axis: int, facts: Facts) -> int:
    """The axis of x counted from the front; `Unknown` where x has none or its size may change."""
    dims = facts.shape(x)
    if not dims:
        raise Unknown("it has no axis")
    axis %= len(dims)
    if facts.dynamic(x)[axis]:
        raise Unknown("the input chooses the size of its axis")
    return axis


def line(index: fx.Node, size: int, facts: Facts, axis: int | None = None) -> Numbers:
    """The numbers of a constant, each counted from the front of an axis of `size` entries.

    With `axis`, the index has as many axes as what it is applied to, and the numbers are those
    along this one; they have to be the same ones along every other.
    """
    value = _constant(index, facts)
    if axis is not None:
        rank = len(facts.shape(index))
        value = value.reshape([1] * (rank - value.ndim) + list(value.shape))
        length = facts.shape(index)[axis]
        lines = value.movedim(axis, -1).reshape(-1, value.shape[axis])
        if not bool((lines == lines[:1]).all()):
            raise Unknown("its places differ along another axis")
        value = lines[0].expand(length) if len(lines[0]) == 1 else lines[0]
        if len(value) != length:
            raise Unknown("its places are repeated along their axis")
    if value.ndim > 1:
        raise Unknown("its places are a table")
    if bool(((value < -size) | (value >= size)).any()):
        raise Unknown("a place lies outside its axis")
    numbers: Numbers = value.reshape(-1).numpy().astype(np.int64) % size
    return numbers


def where_true(mask: fx.Node, facts: Facts) -> Numbers:
    """The places where a constant mask is true, which varies along one axis."""
    value = _constant(mask, facts)
    if value.numel() != max(value.shape, default=0):
        raise Unknown("its mask varies along several axes, or none")
    return value.reshape(-1).nonzero().reshape(-1).numpy()


def _constant(node: fx.Node, facts: Facts) -> torch.Tensor:
    """The value of a constant, or of one repeated along axes of which it has one entry."""
    while node.target in REPEATING and _only_repeats(node, facts):
        node = args_of(node)[0]
    value = facts.constant(node)
    if value is None:
        raise Unknown("its places are not constant")
    return value


def _only_repeats(node: fx.Node, facts: Facts) -> bool:
    """Whether no axis of several entries is repeated, so that broadcasting does the same."""
    inner, counts = args_of(node)[0], list(args_of(node)[1])
    if node.target is aten.expand.default:
        return True
    own = zip(facts.shape(inner), counts[len(counts) - len(facts.shape(inner)) :], strict=True)
    return all(size == 1 or count == 1 for size, count in own)
