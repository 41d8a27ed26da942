"""Calls that change nothing in evaluation mode: their operand takes their place."""

from __future__ import annotations

from typing import Any

import torch

from igc.capture.rewrites.context import TO_THE_END, Rewriting
from igc.errors import BadInput
from igc.program.nodes import layer_of

aten = torch.ops.aten


def operand(at: Rewriting) -> Any:
    """`clone`, `detach`, `contiguous` and the like."""
    return at.now(at["self"])


def negated(at: Rewriting) -> Any:
    """A view that counts as negative: the imaginary part of a conjugate."""
    return at(aten.neg.default, at["self"])


def dropout(at: Rewriting) -> Any:
    """The operand, unless the network drops in evaluation mode too."""
    return at.kept("it drops at random") if at["train"] else at.now(at["input"])


def slice_of_all(at: Rewriting) -> Any:
    """`x[:]` of one axis."""
    first, last = at["start"] in (0, None), at["end"] in (TO_THE_END, None)
    return at.now(at["self"]) if first and last and at["step"] == 1 else at.left()


def cast(at: Rewriting) -> Any:
    """Every spelling of a cast as `_to_copy`; the operand where it has the type."""
    x, dtype = at["self"], at.dtype(at.node)
    return at.now(x) if dtype == at.dtype(x) else at(aten._to_copy.default, x, dtype=dtype)


def paired(at: Rewriting) -> Any:
    """`view_as_complex` of a copy: its pairs have to lie side by side, however they were sliced."""
    copied = at(aten.clone.default, at["self"], memory_format=torch.contiguous_format)
    return at(aten.view_as_complex.default, copied)


def bits(at: Rewriting) -> Any:
    """`view` with a type: the operand where it has that one, kept between types of integers.

    Raises `BadInput` where the bits of fractions are read or made: they are others in each
    precision, so that no run in float64 could tell whether a network is right.
    """
    x, dtype = at["self"], at["dtype"]
    if at.dtype(x) == dtype:
        return at.now(x)
    if any(t is None or t.is_floating_point or t.is_complex for t in (at.dtype(x), dtype)):
        raise BadInput(
            f"layer '{layer_of(at.node)}': view({dtype}) of {at.dtype(x)} reads bits, which are "
            "others in each precision; write it with arithmetic, comparisons or to()"
        )
    return at.kept("it reads the bits of integers")
