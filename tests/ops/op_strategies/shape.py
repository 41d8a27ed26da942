"""Calls of the ops that move values: cuts, joins, permutations, reshapes, shuffles."""

from __future__ import annotations

from math import prod
from typing import Any

from hypothesis import strategies as st
from op_calls import C, Call, S, T

from op_strategies.common import SIZES, Draw, axes_of, axis_of, shapes


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


def _numbers(draw: Draw, low: int, high: int) -> C:
    numbers = draw(st.lists(st.integers(low, high), min_size=1, max_size=5))
    return C((len(numbers),), "index", tuple(numbers))


@st.composite
def index_select(draw: Draw) -> Call:
    """Any numbers, repeated ones too."""
    x = T(draw(shapes()))
    axis = axis_of(draw, len(x.shape))
    return Call((x, axis, _numbers(draw, 0, x.shape[axis] - 1)))


@st.composite
def index(draw: Draw) -> Call:
    """Numbers from either side, one number, a table of them, two axes at once or apart."""
    x = T(draw(shapes()))
    axis = draw(st.integers(0, len(x.shape) - 1))
    size = x.shape[axis]
    before: list[Any] = [None] * axis
    how = draw(st.sampled_from(["numbers", "numbers", "table", "two", "apart", "one"]))
    if how == "table":
        numbers = draw(st.lists(st.integers(-size, size - 1), min_size=4, max_size=4))
        return Call((x, [*before, C((2, 2), "index", tuple(numbers))]), note="table")
    if how == "two" and axis + 1 < len(x.shape):
        pair = [
            C((2,), "index", (draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))))
            for n in x.shape[axis : axis + 2]
        ]
        return Call((x, [*before, *pair]), note="table")
    if how == "one":
        return Call((x, [*before, C((), "index", (draw(st.integers(-size, size - 1)),))]))
    if how == "apart" and axis + 2 < len(x.shape):
        ends = [C((2,), "index", (0, n - 1)) for n in (size, x.shape[axis + 2])]
        return Call((x, [*before, ends[0], None, ends[1]]), note="table")
    return Call((x, [*before, _numbers(draw, -size, size - 1)]))


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
def unfold(draw: Draw) -> Call:
    """Windows along an axis, overlapping or apart."""
    x = T(draw(shapes()))
    axis = axis_of(draw, len(x.shape))
    size = draw(st.integers(1, x.shape[axis]))
    return Call((x, axis, size, draw(st.integers(1, 3))), note="windows")


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
def permute(draw: Draw) -> Call:
    """Any order, axes counted from either side."""
    x = T(draw(shapes()))
    rank = len(x.shape)
    order = draw(st.permutations(range(rank)))
    return Call((x, [a - rank if draw(st.booleans()) else a for a in order]))


@st.composite
def unsqueeze(draw: Draw) -> Call:
    """A new axis anywhere."""
    x = T(draw(shapes(1, 3)))
    return Call((x, axis_of(draw, len(x.shape) + 1)))


@st.composite
def squeeze(draw: Draw, several: bool) -> Call:
    """Axes of one entry, or, where nothing is squeezed, of more."""
    shape = list(draw(shapes(2, 4)))
    gone = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=2, unique=True))
    gone = gone if several else gone[:1]
    wide = draw(st.integers(0, 7)) == 0
    for axis in gone:
        shape[axis] = 3 if wide else 1
    axes = [a - len(shape) if draw(st.booleans()) else a for a in gone]
    return Call((T(tuple(shape)), axes if several else axes[0]), note="squeezed" if wide else "")


@st.composite
def expand(draw: Draw) -> Call:
    """Axes of one entry repeated, new axes in front, -1 for "as it is"."""
    shape = draw(shapes(1, 3))
    x = [1 if draw(st.booleans()) else n for n in shape]
    sizes = [-1 if n == m and draw(st.booleans()) else n for n, m in zip(shape, x, strict=True)]
    return Call((T(tuple(x)), [*draw(st.sampled_from([[], [], [2], [3, 1]])), *sizes]))


@st.composite
def reshape(draw: Draw) -> Call:
    """Axes split, merged and regrouped; one size may be -1."""
    shape = draw(shapes(1, 4))
    rest, sizes = prod(shape), []
    while rest > 1 and len(sizes) < 4:
        part = draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0]))
        sizes.append(part)
        rest //= part
    sizes = [*sizes, rest] if rest > 1 or not sizes else sizes
    if draw(st.booleans()):  # keep the leading axis, as networks do
        sizes = [shape[0], -1]
    elif draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    return Call((T(shape), sizes), note="reshape")


@st.composite
def pixels(draw: Draw, shuffle: bool) -> Call:
    """Blocks of r*r channels to and from r times r pixels, with and without a batch."""
    r, width, h, w = (draw(st.integers(1, 2)) for _ in range(4))
    lead = draw(shapes(0, 2))
    shape = (width * r * r, h, w) if shuffle else (width, h * r, w * r)
    return Call((T((*lead, *shape)), r), note="pixels")


@st.composite
def im2col(draw: Draw) -> Call:
    """Windows of an image, dilated, padded and strided, with and without a batch."""
    kernel, dilation, padding, stride, image = draw(windows())
    lead = draw(st.sampled_from([(), (1,), (2,)]))
    shape = (*lead, draw(st.integers(1, 3)), *image)
    return Call((T(shape), kernel, dilation, padding, stride), note="windows")


@st.composite
def col2im(draw: Draw) -> Call:
    """The way back: windows that overlap are summed."""
    kernel, dilation, padding, stride, image = draw(windows())
    places = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, d, p, s in zip(image, kernel, dilation, padding, stride, strict=True)
    ]
    lead = draw(st.sampled_from([(), (1,), (2,)]))
    shape = (*lead, draw(st.integers(1, 3)) * prod(kernel), prod(places))
    return Call((T(shape), image, kernel, dilation, padding, stride), note="windows")


@st.composite
def windows(draw: Draw) -> tuple[list[int], ...]:
    """Kernel, dilation, padding, stride, and an image that every place in the kernel meets."""
    kernel, dilation, stride = (draw(pairs(1, 2)) for _ in range(3))
    padding = [draw(st.integers(0, k - 1)) for k in kernel]
    image = [d * (k - 1) + draw(st.integers(1, 2)) for k, d in zip(kernel, dilation, strict=True)]
    return kernel, dilation, padding, stride, image


def pairs(low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=2, max_size=2)


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.cat.default": cat(),
    "aten.slice.Tensor": slice_(),
    "aten.narrow.default": narrow(),
    "aten.select.int": select(),
    "aten.index_select.default": index_select(),
    "aten.index.Tensor": index(),
    "aten.flip.default": flip(),
    "aten.roll.default": roll(),
    "aten.unfold.default": unfold(),
    "aten.channel_shuffle.default": channel_shuffle(),
    "aten.repeat.default": repeat(),
    "aten.repeat_interleave.self_int": repeat_interleave(),
    "aten.permute.default": permute(),
    "aten.unsqueeze.default": unsqueeze(),
    "aten.squeeze.dim": squeeze(False),
    "aten.squeeze.dims": squeeze(True),
    "aten.expand.default": expand(),
    "aten.reshape.default": reshape(),
    "aten.pixel_shuffle.default": pixels(True),
    "aten.pixel_unshuffle.default": pixels(False),
    "aten.im2col.default": im2col(),
    "aten.col2im.default": col2im(),
}
