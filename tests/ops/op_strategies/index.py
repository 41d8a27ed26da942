"""Calls that read at the places that a tensor holds."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import SIZES, Draw, axis_of, matrix, shapes


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
def gather(draw: Draw) -> Call:
    """Places along an axis of three or more; along the others perhaps fewer lines than x has."""
    shape = draw(shapes())
    axis = draw(st.integers(0, len(shape) - 1))
    x = list(shape)
    x[axis] = draw(st.integers(3, 5))
    short = draw(st.integers(0, 3)) == 0
    if short:
        x = [n + (a != axis and draw(st.booleans())) for a, n in enumerate(x)]
    given = axis - len(shape) if draw(st.booleans()) else axis
    return Call((T(tuple(x)), given, T(shape, "ids")), note="table" if short else "")


@st.composite
def embedding(draw: Draw) -> Call:
    """Rows of a table, constant or not, with columns of zeros or not, by whole numbers."""
    shape, width = draw(shapes(1, 3)), draw(SIZES)
    return Call((matrix(draw, (3, width)), T(shape, "ids")))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.index_select.default": index_select(),
    "aten.index.Tensor": index(),
    "aten.gather.default": gather(),
    "aten.embedding.default": embedding(),
}
