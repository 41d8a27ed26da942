"""Calls that cut, join, turn, repeat and pad."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import C, Call, S, T

from op_strategies.common import SIZES, Draw, Shape, axes_of, axis_of, lead, shapes, spatial


@st.composite
def cat(draw: Draw) -> Call:
    """Two to four tensors, one of them perhaps twice or constant."""
    shape = draw(shapes())
    axis = axis_of(draw, len(shape))
    parts: list[T | C] = []
    for _ in range(draw(st.integers(1, 3))):
        mine = list(shape)
        mine[axis] = draw(SIZES)
        parts.append(T(tuple(mine)))
    if draw(st.booleans()):
        parts += [T(shape, name="x"), T(shape, name="x")]
    if draw(st.integers(0, 3)) == 0:
        parts.append(C(shape))
    parts = list(draw(st.permutations(parts)))
    if draw(st.integers(0, 9)) == 0:
        return Call(([C((0,)), *parts], axis))
    return Call((parts, axis) if axis or draw(st.booleans()) else (parts,))


def _end(draw: Draw, size: int) -> Any:
    return draw(st.one_of(st.none(), st.integers(-size - 2, size + 2), st.just(2**63 - 1)))


@st.composite
def slice_(draw: Draw) -> Call:
    """Bounds inside and outside, from either side, with a step; or a bound that is a size."""
    x = T(draw(shapes()))
    rank = len(x.shape)
    axis = axis_of(draw, rank)
    size = x.shape[axis]
    if draw(st.integers(0, 4)) == 0:
        other = [a for a in range(rank) if x.shape[a] <= size]
        return Call((x, axis, 0, S(0, draw(st.sampled_from(other)))), note="bound")
    start, end, step = _end(draw, size), _end(draw, size), draw(st.integers(1, 3))
    if not range(*slice(start, end, step).indices(size)):
        start = end = None
    return Call((x, axis, start, end, step)[: draw(st.sampled_from([2, 4, 5]))])


@st.composite
def narrow(draw: Draw) -> Call:
    """A start, which may count from the end, and a length."""
    x = T(draw(shapes()))
    axis = axis_of(draw, len(x.shape))
    size = x.shape[axis]
    start = draw(st.integers(-size, size - 1))
    return Call((x, axis, start, draw(st.integers(1, size - start % size))))


@st.composite
def select(draw: Draw) -> Call:
    """One index, from either side."""
    x = T(draw(shapes(2)))
    axis = axis_of(draw, len(x.shape))
    size = x.shape[axis]
    return Call((x, axis, draw(st.integers(-size, size - 1))))


@st.composite
def flip(draw: Draw) -> Call:
    """One axis or several."""
    x = T(draw(shapes()))
    axes = axes_of(draw, len(x.shape))
    return Call((x, axes), note="several axes" if len(axes) > 1 else "")


@st.composite
def roll(draw: Draw) -> Call:
    """Any shifts along one axis, several or, flattened, all."""
    x = T(draw(shapes()))
    axes = axes_of(draw, len(x.shape), 0)
    shifts = [draw(st.integers(-7, 7)) for _ in axes or [0]]
    note = {0: "flat", 1: ""}.get(len(axes), "several axes")
    return Call((x, shifts, axes) if axes else (x, shifts), note=note)


@st.composite
def channel_shuffle(draw: Draw) -> Call:
    """Any groups that divide the channels."""
    groups, each = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Call((T((draw(SIZES), groups * each, *draw(shapes(1, 2)))), groups))


@st.composite
def repeat(draw: Draw) -> Call:
    """Counts for every axis, new axes in front, a count that is a size."""
    x = T(draw(shapes(1, 3)))
    counts: list[Any] = [draw(st.sampled_from([1, 1, 2, 3])) for _ in x.shape]
    counts = [*draw(st.sampled_from([[], [], [1], [2]])), *counts]
    many, note = [a for a, c in enumerate(counts) if c != 1], ""
    if draw(st.integers(0, 4)) == 0:
        counts[0] = S(0, 0)
        note = "repeat"
    if len(many) > 1 or len(counts) > len(x.shape):
        note = "repeat"
    return Call((x, counts), note=note)


@st.composite
def repeat_interleave(draw: Draw) -> Call:
    """Each entry of an axis several times, or of the flattened tensor."""
    x = T(draw(shapes()))
    if draw(st.integers(0, 5)) == 0:
        return Call((x, draw(st.integers(1, 3))), note="flat")
    return Call((x, draw(st.integers(1, 3)), axis_of(draw, len(x.shape))))


@st.composite
def edge_pad(draw: Draw, name: str, rank: int) -> Call:
    """Reflection (at most one less than the axis) and replication."""
    x = T((*lead(draw, False), *spatial(draw, rank, 2, 5)))
    most = min(x.shape[-rank:]) - (1 if name.startswith("reflection") else 0)
    return Call((x, [draw(st.integers(0, min(most, 3))) for _ in range(2 * rank)]))


def _amounts(draw: Draw, shape: Shape, axes: int) -> list[int]:
    """Numbers to add before and after each of the last axes; negative ones cut."""
    amounts: list[int] = []
    for n in reversed(shape[len(shape) - axes :]):
        before = draw(st.integers(-(n - 1), 2)) if draw(st.booleans()) else 0
        after = draw(st.integers(-(n - 1) - min(before, 0), 2)) if draw(st.booleans()) else 0
        amounts += [before, after]
    return amounts


@st.composite
def constant_pad(draw: Draw) -> Call:
    """Constants around any of the last axes, or parts cut off."""
    shape = draw(shapes())
    amounts = _amounts(draw, shape, draw(st.integers(1, len(shape))))
    note = "windows" if min(amounts) < 0 else ""
    return Call((T(shape), amounts, draw(st.sampled_from([0.0, 0.5]))), note=note)


@st.composite
def pad(draw: Draw) -> Call:
    """pad in every mode."""
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "replicate", "circular"]))
    if mode == "constant":
        call = draw(constant_pad())
        x, amounts, value = call.args
        rest = draw(st.sampled_from([[], ["constant"], ["constant", value], ["constant", None]]))
        return Call((x, amounts, *rest), note=call.note)
    rank = draw(st.integers(1, 3))
    x = T((*lead(draw, False), *spatial(draw, rank, 2, 4)))
    most = min(x.shape[-rank:]) - (1 if mode == "reflect" else 0)
    return Call((x, [draw(st.integers(0, min(most, 2))) for _ in range(2 * rank)], mode))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.cat.default": cat(),
    "aten.slice.Tensor": slice_(),
    "aten.narrow.default": narrow(),
    "aten.select.int": select(),
    "aten.flip.default": flip(),
    "aten.roll.default": roll(),
    "aten.channel_shuffle.default": channel_shuffle(),
    "aten.repeat.default": repeat(),
    "aten.repeat_interleave.self_int": repeat_interleave(),
    "aten.pad.default": pad(),
    "aten.constant_pad_nd.default": constant_pad(),
    **{
        f"aten.{name}{n}d.default": edge_pad(name, n)
        for name in ("reflection_pad", "replication_pad")
        for n in (1, 2, 3)
    },
}
