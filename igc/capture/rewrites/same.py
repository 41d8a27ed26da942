"""Calls that change nothing in evaluation mode: their operand takes their place."""

from __future__ import annotations

from typing import Any

import torch

from igc.capture.rewrites.context import TO_THE_END, Rewriting

aten = torch.ops.aten


def operand(at: Rewriting) -> Any:
    """`clone`, `detach`, `contiguous` and the like."""
    return at.now(at["self"])


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
