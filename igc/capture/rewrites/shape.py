"""Calls that move entries, spelled by axes that are named and sizes that may change."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.context import Rewriting

aten = torch.ops.aten


def transpose(at: Rewriting) -> Any:
    """A permutation."""
    x = at["self"]
    order = list(range(at.rank(x)))
    if order:
        a, b = at.axis(x, at["dim0"]), at.axis(x, at["dim1"])
        order[a], order[b] = b, a
    return _permuted(at, order)


def transpose_matrix(at: Rewriting) -> Any:
    """`t` of a matrix, which leaves a vector as it is."""
    return _permuted(at, list(range(at.rank(at["self"])))[::-1])


def _permuted(at: Rewriting, order: list[int]) -> Any:
    x = at["self"]
    return at.now(x) if order == sorted(order) else at(aten.permute.default, x, order)


def flatten(at: Rewriting) -> Any:
    """A reshape: axes outside the merged ones keep their sizes, the merged one is -1."""
    x = at["self"]
    start, end = at.axis(x, at["start_dim"]), at.axis(x, at["end_dim"])
    if at.rank(x) and start == end:
        return at.now(x)
    before = [at.size(x, a) for a in range(start)]
    after = [at.size(x, a) for a in range(end + 1, at.rank(x))]
    return at(aten.reshape.default, x, [*before, -1, *after])


def unflatten(at: Rewriting) -> Any:
    """A reshape: axes beside the split one keep their sizes."""
    x, axis = at["self"], at.axis(at["self"], at["dim"])
    whole = at.sizes(x)
    return at(aten.reshape.default, x, [*whole[:axis], *at["sizes"], *whole[axis + 1 :]])


def squeeze(at: Rewriting) -> Any:
    """A squeeze names the axes that go: slicing to one channel must not make it take more."""
    x = at["self"]
    given = at.arguments.get("dim", range(at.rank(x)))
    axes = {at.axis(x, a) for a in ([given] if isinstance(given, int) else given)}
    gone = [a for a in sorted(axes) if at.dims(x)[a : a + 1] == (1,)]
    return at(aten.squeeze.dims, x, gone) if gone else at.now(x)


def roll(at: Rewriting) -> Any:
    """Rolls of several axes, one after the other."""
    if len(at["dims"]) != len(at["shifts"]):
        return at.kept("it rolls over all axes as if they were one")
    result = at["self"]
    for shift, axis in zip(at["shifts"], at["dims"], strict=True):
        result = at(aten.roll.default, result, [shift], [axis])
    return at.now(result)


def flip(at: Rewriting) -> Any:
    """Flips of several axes, one after the other."""
    result = at["self"]
    for axis in at["dims"]:
        result = at(aten.flip.default, result, [axis])
    return at.now(result)


def numel(at: Rewriting) -> Any:
    """The product of the sizes."""
    result: fx.Node | int = 1
    for axis in range(at.rank(at["self"])):
        result = at(operator.mul, result, at.size(at["self"], axis))
    return result


def reshape_alias(at: Rewriting) -> Any:
    """A reshape: the steps that it is told are those of a reshape, or the call is not valid."""
    return at(aten.reshape.default, at["self"], at["size"])


def narrow_copy(at: Rewriting) -> Any:
    """A slice."""
    start, length = at["start"], at["length"]
    numbers = isinstance(start, int) and isinstance(length, int)
    if isinstance(start, int) and start < 0:
        start = at(operator.add, at.size(at["self"], at["dim"]), start)
        numbers = False
    end = start + length if numbers else at(operator.add, start, length)
    return at(aten.slice.Tensor, at["self"], at["dim"], start, end, 1)
