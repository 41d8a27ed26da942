"""`x[:, 1:3] = y` as torch writes it without changing x, told as a concatenation of what it holds.

torch turns an assigned item into `copy` and `slice_scatter`. Written as slices side by side, every
channel is traced to where it comes from, and nothing that was overwritten is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.context import Rewriting

aten = torch.ops.aten
TO_THE_END = 2**63 - 1


def slice_scatter(at: Rewriting) -> Any:
    """`slice_scatter(x, y, axis, start, end)`: x before start, y, x from end on."""
    start = 0 if at["start"] is None else at["start"]
    end = TO_THE_END if at["end"] is None else at["end"]
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end):
        return at.kept("its bounds are sizes, or counted from the end")
    if at["step"] != 1:
        return at.kept("it leaves entries out")
    if at.dtype(at["self"]) != at.dtype(at["src"]):
        return at.kept("it casts what is assigned")
    return _joined(at, start, at["src"], end)


def select_scatter(at: Rewriting) -> Any:
    """`select_scatter(x, y, axis, index)`: as `slice_scatter` of one index."""
    index = at["index"]
    if not isinstance(index, int) or index < 0:
        return at.kept("its index is a size, or counted from the end")
    if at.dtype(at["self"]) != at.dtype(at["src"]):
        return at.kept("it casts what is assigned")
    axis = at.axis(at["self"], at["dim"])
    return _joined(at, index, at(aten.unsqueeze.default, at["src"], axis), index + 1)


def _joined(at: Rewriting, start: int, middle: fx.Node, end: int) -> Any:
    """`middle` between what is before `start` and from `end` on."""
    x, axis = at["self"], at.axis(at["self"], at["dim"])
    parts = [at.slice(x, axis, 0, start)] if start > 0 else []
    parts.append(middle)
    if end < TO_THE_END:  # empty where the axis ends before: at another size it may not
        parts.append(at.slice(x, axis, end, TO_THE_END))
    return at.now(middle) if len(parts) == 1 else at(aten.cat.default, parts, axis)


def copy(at: Rewriting) -> Any:
    """`copy(x, y)`: y, where it has the shape and dtype of x."""
    if at.facts[at["self"]] != at.facts[at["src"]]:
        return at.kept("it casts or repeats what is assigned")
    return at.now(at["src"])
