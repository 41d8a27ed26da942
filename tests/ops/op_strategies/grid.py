"""Calls that take values at given places."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import Call, T

from op_strategies.common import SIZES, Draw, shapes, spatial


@st.composite
def grid_sampler(draw: Draw, ranks: tuple[int, ...], modes: tuple[int, ...]) -> Call:
    """Places inside the picture; every mode and padding, aligned or not."""
    rank = draw(st.sampled_from(ranks))
    batch = draw(SIZES)
    x = T((batch, draw(SIZES), *spatial(draw, rank, 2, 4)))
    grid = T((batch, *spatial(draw, rank, 1, 3), rank), "unit")
    mode = draw(st.sampled_from([m for m in modes if rank == 2 or m < 2]))
    rest = (mode, draw(st.sampled_from([0, 1, 2])), draw(st.booleans()))
    return Call((x, grid, *rest), note="windows")


@st.composite
def affine_grid(draw: Draw, ranks: tuple[int, ...]) -> Call:
    """Of pictures and volumes, aligned or not."""
    rank = draw(st.sampled_from(ranks))
    batch = draw(SIZES)
    size = [batch, draw(SIZES), *spatial(draw, rank, 2, 4)]
    return Call((T((batch, rank, rank + 1)), size, draw(st.booleans())), note="windows")


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


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.grid_sampler.default": grid_sampler((2, 3), (0, 1, 2)),
    "aten.grid_sampler_2d.default": grid_sampler((2,), (0, 1, 2)),
    "aten.grid_sampler_3d.default": grid_sampler((3,), (0, 1)),
    "aten.affine_grid_generator.default": affine_grid((2, 3)),
    "aten.gather.default": gather(),
}
