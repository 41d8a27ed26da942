"""Calls of sorting, extremes and pooling with places; one of the two outputs is taken."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import Call, T

from op_strategies.common import SIZES, Draw, axis_of, shapes, spatial


@st.composite
def sorted_(draw: Draw, down: bool = False, keywords: bool = False) -> Call:
    """op(x, axis) or op(x, axis, descending)."""
    x = T(draw(shapes(least=2)))
    axis, pick = axis_of(draw, len(x.shape)), draw(st.integers(0, 1))
    if keywords:
        return Call((x,), {"stable": True, "dim": axis, "descending": draw(st.booleans())},
                    pick=pick)  # fmt: skip
    return Call((x, axis, draw(st.booleans())) if down else (x, axis), pick=pick)


@st.composite
def topk(draw: Draw) -> Call:
    """topk(x, k, axis, largest)."""
    x = T(draw(shapes(least=2)))
    axis = axis_of(draw, len(x.shape))
    k = draw(st.integers(1, x.shape[axis] - 1))
    return Call((x, k, axis, draw(st.booleans())), pick=draw(st.integers(0, 1)))


@st.composite
def extreme(draw: Draw, numbered: bool = False) -> Call:
    """op(x, axis, keepdim), op(x, k, axis, keepdim)."""
    x = T(draw(shapes(least=2)))
    axis = axis_of(draw, len(x.shape))
    k = (draw(st.integers(1, x.shape[axis])),) if numbered else ()
    return Call((x, *k, axis, draw(st.booleans())), pick=draw(st.integers(0, 1)))


@st.composite
def pooled(draw: Draw, rank: int, adaptive: bool = False) -> Call:
    """Windows of two with or without overlap; adaptive ones to one or two lines."""
    x = T((draw(SIZES), draw(SIZES), *spatial(draw, rank)))
    pick = draw(st.integers(0, 1))
    if adaptive:
        return Call((x, [draw(st.integers(1, 2))] * rank), note="windows", pick=pick)
    stride: Any = [draw(st.integers(1, 2))] * rank
    return Call((x, [2] * rank, stride), note="windows", pick=pick)


@st.composite
def unpooled(draw: Draw, rank: int) -> Call:
    """To maps in which there is room for every place."""
    shape = (draw(SIZES), draw(SIZES), *spatial(draw, rank, 1, 2))
    size = [n + 2 for n in shape[2:]]
    rest: tuple[Any, ...] = () if rank == 2 else ([1] * rank, [0] * rank)
    return Call((T(shape), T(shape, "ids"), size, *rest), note="windows")


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.sort.default": sorted_(down=True),
    "aten.sort.stable": sorted_(keywords=True),
    "aten.topk.default": topk(),
    "aten.cummax.default": sorted_(),
    "aten.cummin.default": sorted_(),
    "aten.max.dim": extreme(),
    "aten.min.dim": extreme(),
    "aten.median.dim": extreme(),
    "aten.mode.default": extreme(),
    "aten.kthvalue.default": extreme(numbered=True),
    **{f"aten.max_pool{n}d_with_indices.default": pooled(n) for n in (1, 2, 3)},
    **{f"aten.adaptive_max_pool{n}d.default": pooled(n, adaptive=True) for n in (1, 2, 3)},
    "aten.max_unpool2d.default": unpooled(2),
    "aten.max_unpool3d.default": unpooled(3),
}
