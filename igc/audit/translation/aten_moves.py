"""What moves entries in the gated network, and changes none."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy
from torch import fx

from igc.audit.translation.gated import Gated, Rule
from igc.audit.translation.idioms import (
    pixel_shuffle,
    tiled,
)
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import Known, Value, permuted, reshaped, tidy
from igc.program.schema import op_name


def _reshape(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    name = op_name(node)
    if name == "flatten":
        rank = len(x.axes)
        first, last = args["start_dim"] % max(rank, 1), args["end_dim"] % max(rank, 1)
        sizes = [x.size(a) for a in range(rank)]
        middle = sympy.prod(sizes[first : last + 1])
        wanted = [*sizes[:first], middle, *sizes[last + 1 :]]
    elif name == "unflatten":
        axis = args["dim"] % len(x.axes)
        sizes = [x.size(a) for a in range(len(x.axes))]
        inner = [at.size(s) for s in args["sizes"]]
        if -1 in inner:
            others = sympy.prod([s for s in inner if s != -1])
            inner[inner.index(-1)] = sympy.cancel(sizes[axis] / others)
        wanted = [*sizes[:axis], *inner, *sizes[axis + 1 :]]
    else:
        wanted = [at.size(s) for s in args["size" if "size" in args else "shape"]]
    return reshaped(at.on.store, x, wanted)


def _permute(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    rank = len(x.axes)
    order = list(range(rank))
    if "dims" in args:
        order = [d % rank for d in args["dims"]]
    elif "dim0" in args:
        a, b = args["dim0"] % rank, args["dim1"] % rank
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return permuted(x, order)


def _unsqueeze(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    axis = args["dim"] % (len(x.axes) + 1)
    return Value((*x.axes[:axis], (), *x.axes[axis:]), x.ids)


def _squeeze(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = tidy(at.tensor(args["self"]))
    asked = args.get("dim", range(len(x.axes)))
    given = [a % len(x.axes) for a in (asked if not isinstance(asked, int) else [asked])]
    kept = [a for a in range(len(x.axes)) if a not in given or x.axes[a]]
    return Value(tuple(x.axes[a] for a in kept), x.ids)


def _expand(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return at.on.expanded(at.operand(args["self"]), [at.size(s) for s in args["size"]])


def _repeat(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    counts = [at.size(c) for c in args["repeats" if "repeats" in args else "dims"]]
    counts = [*[1] * (len(x.axes) - len(counts)), *counts]
    return tiled(at.on, x, counts)


def _cat(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    parts = [at.operand(t) for t in args["tensors"]]
    parts = [p for p in parts if not (isinstance(p, Known) and p.array.shape == (0,))]
    rank = len(parts[0].axes) if isinstance(parts[0], Value) else parts[0].array.ndim
    return at.on.concat(parts, args["dim"] % rank)


def _stack(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    parts = [at.tensor(t) for t in args["tensors"]]
    axis = args["dim"] % (len(parts[0].axes) + 1)
    return at.on.concat([Value((*p.axes[:axis], (), *p.axes[axis:]), p.ids) for p in parts], axis)


def _slice(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    end = at.size(args["end"])
    stop = None if end is None or (isinstance(end, int) and end >= 2**62) else end
    return at.on.slice(x, args["dim"] % len(x.axes), at.size(args["start"]) or 0, stop,
                       args["step"])  # fmt: skip


def _narrow(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x, start = at.tensor(args["self"]), at.integer(args["start"])
    return at.on.slice(x, args["dim"] % len(x.axes), start, start + at.size(args["length"]))


def _select(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    return at.on.take(x, args["dim"] % len(x.axes), at.integer(args["index"]))


def _index_select(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x, index = at.tensor(args["self"]), at.numbers(args["index"])
    return at.on.take(x, args["dim"] % len(x.axes), index.astype(np.int64))


def _index(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    given = [(a, i) for a, i in enumerate(args["indices"]) if i is not None]
    if len(given) != 1:
        raise NotShown("several indices")
    axis, index = given[0]
    places = at.operand(index)
    if not isinstance(places, Known) or places.array.dtype == bool:
        raise NotShown("places that the input gives")
    return at.on.take(at.tensor(args["self"]), axis, places.array.astype(np.int64))


def _chunk(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    axis = args["dim"] % len(x.axes)
    size = int(x.size(axis))
    name = op_name(node)
    if name == "chunk":
        step = -(-size // args["chunks"])
        widths = [min(step, size - s) for s in range(0, size, step)]
    elif isinstance(args.get("split_size"), int):
        widths = [min(args["split_size"], size - s) for s in range(0, size, args["split_size"])]
    else:
        widths = list(args["split_sizes" if "split_sizes" in args else "split_size"])
    ends = np.cumsum(widths).tolist()
    return tuple(at.on.slice(x, axis, e - w, e) for w, e in zip(widths, ends, strict=True))


def _unbind(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    axis = args["dim"] % len(x.axes)
    return tuple(at.on.take(x, axis, i) for i in range(int(x.size(axis))))


def _flip(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    for d in args["dims"]:
        axis = d % len(x.axes)
        size = x.size(axis)
        if not size.is_Integer:
            x = at.on.along(("flip",), x, axis)
        else:
            x = at.on.take(x, axis, np.arange(int(size))[::-1])
    return x


def _roll(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x: Any = at.tensor(args["self"])
    for shift, dim in zip(args["shifts"], args["dims"], strict=True):
        axis = dim % len(x.axes)
        width = x.size(axis)
        if not width.is_Integer:
            raise NotShown("a roll of an axis of unknown size")
        cut = int(width) - shift % int(width)
        if cut != int(width):
            parts = [at.on.slice(x, axis, cut, None), at.on.slice(x, axis, 0, cut)]
            x = at.on.concat(parts, axis)
    return x


def _channel_shuffle(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x, groups = at.tensor(args["self"]), args["groups"]
    order = np.arange(int(x.size(1))).reshape(groups, -1).T.reshape(-1)
    return at.on.take(x, 1, order)


def _pixel_shuffle(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return pixel_shuffle(at.on, at.tensor(args["self"]), args["upscale_factor"])


def _pad(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    amounts = [at.integer(p) for p in args["pad"]]
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    pairs = [(0, 0)] * (len(x.axes) - len(pairs)) + pairs[::-1]
    fill = float(args.get("value") or 0)
    return at.on.padded(x, args.get("mode", "constant"), pairs, fill)


def _filled(fill: float | None) -> Rule:
    """A tensor of one number, which the call names or its name says."""

    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        if "size" in args:
            sizes = [at.size(s) for s in args["size"]]
        else:
            like = at.tensor(args["self"])
            sizes = [like.size(a) for a in range(len(like.axes))]
        number = float(args["fill_value"]) if fill is None else fill
        return at.on.expanded(Known(np.full([1] * len(sizes), number)), sizes)

    return rule


RULES: dict[str, Rule] = {
    **dict.fromkeys(("zeros", "new_zeros", "zeros_like"), _filled(0.0)),
    **dict.fromkeys(("ones", "new_ones", "ones_like"), _filled(1.0)),
    **dict.fromkeys(("full", "new_full", "full_like"), _filled(None)),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "_unsafe_view"), _reshape),
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "repeat": _repeat,
    "tile": _repeat,
    "cat": _cat,
    "stack": _stack,
    "slice": _slice,
    "narrow": _narrow,
    "select": _select,
    "index_select": _index_select,
    "index": _index,
    "flip": _flip,
    "roll": _roll,
    "channel_shuffle": _channel_shuffle,
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _chunk),
    "unbind": _unbind,
    "pixel_shuffle": _pixel_shuffle,
    "pad": _pad,
    "constant_pad_nd": _pad,
}
