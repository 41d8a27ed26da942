"""`x[:, 1:3] = y` as torch writes it without changing x, told as a concatenation of what it holds.

torch turns an assigned item into `copy` and `slice_scatter`. Written as slices side by side, every
channel is traced to where it comes from, and nothing that was overwritten is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.context import TO_THE_END, Rewriting
from igc.program.nodes import args_of

aten = torch.ops.aten
FILLING = (aten.copy.default, aten.fill.Scalar, aten.fill.Tensor, aten.zero.default)


def slice_scatter(at: Rewriting) -> Any:
    """`slice_scatter(x, y, axis, start, end)`: x before start, y, x from end on."""
    start = 0 if at["start"] is None else at["start"]
    end = TO_THE_END if at["end"] is None else at["end"]
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end):
        return at.left()
    if at["step"] != 1:
        return at.left()
    if at.dtype(at["self"]) != at.dtype(at["src"]):
        return at.kept("it casts what is assigned")
    return _joined(at, start, at["src"], end)


def select_scatter(at: Rewriting) -> Any:
    """`select_scatter(x, y, axis, index)`: as `slice_scatter` of one index."""
    index = at["index"]
    if not isinstance(index, int):
        return at.left()
    if at.dtype(at["self"]) != at.dtype(at["src"]):
        return at.kept("it casts what is assigned")
    axis = at.axis(at["self"], at["dim"])
    source = _one_number(at, axis) or at(aten.unsqueeze.default, at["src"], axis)
    if index < 0:  # where the axis ends is up to the input, for all that is known here
        end = TO_THE_END if index == -1 else index + 1
        return at(aten.slice_scatter.default, at["self"], source, axis, index, end)
    return _joined(at, index, source, index + 1)


def _one_number(at: Rewriting, axis: int) -> fx.Node | None:
    """The number that is assigned throughout, in the shape of x with one entry along the axis.

    The assigned value has lost that axis; what is left may have none whose size is known, so that
    nothing could be said of its channels.
    """
    source = at["src"]
    if source.target not in FILLING:
        return None
    value = 0 if source.target is aten.zero.default else args_of(source)[1]
    if isinstance(value, fx.Node) and (at.facts[value].shape is None or at.dims(value)):
        return None
    sizes = at.sizes(at["self"])
    return _repeated(at, value, [*sizes[:axis], 1, *sizes[axis + 1 :]], at.dtype(source))


def _joined(at: Rewriting, start: int, middle: fx.Node, end: int) -> Any:
    """`middle` between what is before `start` and from `end` on."""
    x, axis = at["self"], at.axis(at["self"], at["dim"])
    parts = [at.slice(x, axis, 0, start)] if start > 0 else []
    parts.append(middle)
    if end < TO_THE_END:  # empty where the axis ends before: at another size it may not
        parts.append(at.slice(x, axis, end, TO_THE_END))
    return at.now(middle) if len(parts) == 1 else at(aten.cat.default, parts, axis)


def copy(at: Rewriting) -> Any:
    """`copy(x, y)`: y in the type of x, repeated to its shape."""
    x, y = at["self"], at["src"]
    if at.facts[x].dims == at.facts[y].dims:
        return _cast(at, y, at.dtype(x))
    return _repeated(at, y, at.sizes(x), at.dtype(x))


def fill(at: Rewriting) -> Any:
    """`fill(x, value)`: the value in the shape and type of x, which is not read."""
    x, value = at["self"], at["value"]
    if isinstance(value, fx.Node) and at.facts[value].shape is None:
        return at.kept("its value is a size")
    return _repeated(at, value, at.sizes(x), at.dtype(x))


def _repeated(at: Rewriting, value: Any, sizes: list[Any], dtype: torch.dtype | None) -> fx.Node:
    """A number or a tensor in this type, repeated to these sizes."""
    if isinstance(value, fx.Node):
        return at(aten.expand.default, _cast(at, value, dtype), sizes)
    number = bool(value) if dtype == torch.bool else value
    return at(aten.full.default, sizes, number, dtype=dtype, device=torch.device("cpu"))


def _cast(at: Rewriting, value: fx.Node, dtype: torch.dtype | None) -> fx.Node:
    same = at.dtype(value) == dtype
    return at.now(value) if same else at(aten._to_copy.default, value, dtype=dtype)
