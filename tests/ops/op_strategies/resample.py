"""Calls that resize images, or sample them at the places of a grid."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import Call, T

from igc.ops.resample import SPATIAL_RANK
from op_strategies.common import SIZES, Draw, lead, spatial


@st.composite
def resize(draw: Draw, name: str, rank: int) -> Call:
    """To a size or by a factor; aligned corners or not."""
    x = T((*lead(draw, True), *spatial(draw, rank, 2, 5)))
    corners = [] if "nearest" in name else [draw(st.booleans())]
    factors = [draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.7])) for _ in range(rank)]
    sizes = [int(n * f) for n, f in zip(x.shape[-rank:], factors, strict=True)]
    if not name.endswith(".vec"):
        given = draw(st.booleans())
        return Call((x, sizes, *corners, *(factors if given else [])))
    return Call((x, sizes, *corners, None) if draw(st.booleans()) else (x, None, *corners, factors))


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


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{f"aten.{name}": resize(name, rank) for name, rank in SPATIAL_RANK.items()},
    "aten.grid_sampler.default": grid_sampler((2, 3), (0, 1, 2)),
    "aten.grid_sampler_2d.default": grid_sampler((2,), (0, 1, 2)),
    "aten.grid_sampler_3d.default": grid_sampler((3,), (0, 1)),
    "aten.affine_grid_generator.default": affine_grid((2, 3)),
}
