"""Calls of sorting and of the entry at a place of the order; one of the outputs is taken."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import Call, T

from op_strategies.common import Draw, axis_of, shapes
from op_strategies.reduce import along, extreme


@st.composite
def sorted_(draw: Draw, keywords: bool = False) -> Call:
    """op(x, axis, descending)."""
    x = T(draw(shapes(least=2)))
    axis, pick, down = axis_of(draw, len(x.shape)), draw(st.integers(0, 1)), draw(st.booleans())
    if keywords:
        return Call((x,), {"stable": True, "dim": axis, "descending": down}, pick=pick)
    return Call((x, axis, down), pick=pick)


@st.composite
def topk(draw: Draw) -> Call:
    """topk(x, k, axis, largest)."""
    x = T(draw(shapes(least=2)))
    axis = axis_of(draw, len(x.shape))
    k = draw(st.integers(1, x.shape[axis] - 1))
    return Call((x, k, axis, draw(st.booleans())), pick=draw(st.integers(0, 1)))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.sort.default": sorted_(),
    "aten.sort.stable": sorted_(keywords=True),
    "aten.argsort.default": along((), both=True),
    "aten.topk.default": topk(),
    "aten.median.dim": extreme(),
    "aten.mode.default": extreme(),
    "aten.kthvalue.default": extreme(numbered=True),
}
