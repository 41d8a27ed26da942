"""Calls that permute, split, merge, add, drop and expand axes."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import Draw, axis_of, shapes


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
    """Axes of one entry repeated, new axes in front, -1 for "as it is"; of a constant, too."""
    shape = draw(shapes(1, 3))
    x = [1 if draw(st.booleans()) else n for n in shape]
    sizes = [-1 if n == m and draw(st.booleans()) else n for n, m in zip(shape, x, strict=True)]
    given = draw(st.sampled_from([T(tuple(x)), C(tuple(x)), C(tuple(x), "sparse")]))
    return Call((given, [*draw(st.sampled_from([[], [], [2], [3, 1]])), *sizes]))


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


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.permute.default": permute(),
    "aten.unsqueeze.default": unsqueeze(),
    "aten.squeeze.dim": squeeze(False),
    "aten.squeeze.dims": squeeze(True),
    "aten.expand.default": expand(),
    "aten.reshape.default": reshape(),
}
