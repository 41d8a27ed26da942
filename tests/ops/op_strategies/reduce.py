"""Calls of reductions, softmaxes and cumulative ops."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import Call, T

from op_strategies.common import Draw, axes_of, axis_of, shapes


def _axes(draw: Draw, rank: int, nothing: tuple[Any, ...] = ()) -> Any:
    """Some axes, or one of the ways to say "all of them"."""
    if nothing and draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(nothing))
    return axes_of(draw, rank)


@st.composite
def several(draw: Draw, nothing: tuple[Any, ...], keywords: bool = False) -> Call:
    """op(x, axes, keepdim)."""
    x = T(draw(shapes(least=2)))
    axes, keep = _axes(draw, len(x.shape), nothing), draw(st.booleans())
    if keywords:
        return Call((x, axes), {"keepdim": keep, "correction": draw(st.sampled_from([0, 1]))})
    return Call((x, axes, keep) if keep or draw(st.booleans()) else (x, axes))


@st.composite
def spread(draw: Draw) -> Call:
    """var(x, axes, unbiased, keepdim)."""
    x = T(draw(shapes(least=2)))
    args = (x, _axes(draw, len(x.shape), (None,)), draw(st.booleans()), draw(st.booleans()))
    return Call(args[: draw(st.integers(2, 4))])


@st.composite
def norm(draw: Draw) -> Call:
    """linalg_vector_norm(x, ord, axes, keepdim)."""
    x = T(draw(shapes(least=2)))
    order = draw(st.sampled_from([1, 2, 3, 0.5, float("inf"), float("-inf"), -1]))
    args = (x, order, _axes(draw, len(x.shape), (None,)), draw(st.booleans()))
    return Call(args[: draw(st.integers(3, 4))])


@st.composite
def one(draw: Draw, nothing: tuple[Any, ...] = ()) -> Call:
    """op(x, axis, keepdim)."""
    x = T(draw(shapes(least=2)))
    axis: Any = axis_of(draw, len(x.shape))
    if nothing and draw(st.integers(0, 5)) == 0:
        axis = None
    return Call((x, axis, draw(st.booleans()))[: draw(st.integers(2, 3))])


@st.composite
def extreme(draw: Draw, numbered: bool = False) -> Call:
    """op(x, axis, keepdim), op(x, k, axis, keepdim)."""
    x = T(draw(shapes(least=2)))
    axis = axis_of(draw, len(x.shape))
    k = (draw(st.integers(1, x.shape[axis])),) if numbered else ()
    return Call((x, *k, axis, draw(st.booleans())), pick=draw(st.integers(0, 1)))


@st.composite
def truth(draw: Draw) -> Call:
    """any(x, axis, keepdim), all(x, axis, keepdim); of few entries, or one seldom decides."""
    x = T(tuple(min(n, 3) for n in draw(shapes(least=2))), "bool")
    return Call((x, axis_of(draw, len(x.shape)), draw(st.booleans()))[: draw(st.integers(2, 3))])


@st.composite
def along(draw: Draw, last: tuple[Any, ...], both: bool = False, pick: bool = False) -> Call:
    """op(x, axis, ...), the axis kept; with `both`, up or down; with `pick`, one of two outputs."""
    x = T(draw(shapes(least=2)))
    last = (*last, draw(st.booleans())) if both else last
    taken = draw(st.integers(0, 1)) if pick else None
    return Call((x, axis_of(draw, len(x.shape)), *last), pick=taken)


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.mean.dim": several((None, [])),
    "aten.sum.dim_IntList": several((None, [])),
    "aten.amax.default": several(([],)),
    "aten.amin.default": several(([],)),
    "aten.max.dim": extreme(),
    "aten.min.dim": extreme(),
    "aten.logsumexp.default": several(()),
    "aten.var.correction": several((None,), keywords=True),
    "aten.std.correction": several((None,), keywords=True),
    "aten.var.dim": spread(),
    "aten.std.dim": spread(),
    "aten.linalg_vector_norm.default": norm(),
    "aten.prod.dim_int": one(),
    "aten.argmax.default": one((None,)),
    "aten.argmin.default": one((None,)),
    "aten.any.dim": truth(),
    "aten.all.dim": truth(),
    "aten.softmax.int": along(()),
    "aten._softmax.default": along((False,)),
    "aten.log_softmax.int": along(()),
    "aten._log_softmax.default": along((False,)),
    "aten.cumsum.default": along(()),
    "aten.cumprod.default": along(()),
    "aten.cummax.default": along((), pick=True),
    "aten.cummin.default": along((), pick=True),
}
