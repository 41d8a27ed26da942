"""Calls of matrix products: vectors, matrices, batches that broadcast, the same tensor twice."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import SIZES, Draw, bias_of, broadcast, matrix, per_channel, shapes


@st.composite
def linear(draw: Draw) -> Call:
    """linear(x [..., I], weight [O, I] or [I], bias)."""
    shape, outputs = draw(shapes(1, 4)), draw(SIZES)
    if draw(st.integers(0, 7)) == 0:
        return Call((T(shape), C(shape[-1:])))
    weight = matrix(draw, (outputs, shape[-1]))
    return Call((T(shape), weight, bias_of(draw, outputs, weight)))


@st.composite
def mm(draw: Draw, batch: bool) -> Call:
    """[M, K] @ [K, N], with one batch axis for bmm."""
    m, k, n, lead = (draw(SIZES) for _ in range(4))
    before = (lead,) if batch else ()
    if draw(st.integers(0, 5)) == 0:
        return Call((T((*before, k, k), name="x"), T((*before, k, k), name="x")))
    return Call((T((*before, m, k)), matrix(draw, (*before, k, n))))


@st.composite
def matmul(draw: Draw) -> Call:
    """Batch axes that broadcast, vectors, constants on either side."""
    m, k, n = (draw(SIZES) for _ in range(3))
    how = draw(st.sampled_from(["batch", "batch", "batch", "same", "vector"]))
    lead = draw(shapes(0, 2))
    if how == "same":
        return Call((T((*lead, k, k), name="x"), T((*lead, k, k), name="x")))
    if how == "vector":
        a, b = draw(st.sampled_from([((k,), (k,)), ((k,), (k, n)), ((*lead, m, k), (k,))]))
        return Call((T(a), T(b)))
    a, b = (*draw(broadcast(lead)), m, k), (*draw(broadcast(lead)), k, n)
    if draw(st.integers(0, 3)) == 0:
        return Call((C(a), T(b)))
    return Call((T(a), matrix(draw, b)))


@st.composite
def addmm(draw: Draw) -> Call:
    """addmm(bias, a, b), the bias a vector or a matrix, scaled or not."""
    m, k, n = (draw(SIZES) for _ in range(3))
    how = draw(st.sampled_from(["plain", "plain", "plain", "scaled", "wide"]))
    bias = per_channel(draw, n)
    if how == "wide":
        bias = T((draw(st.sampled_from([1, m])), n))
    scale = {"beta": 0.5, "alpha": 2.0} if how == "scaled" else {}
    b = matrix(draw, (k, n)) if how == "plain" and isinstance(bias, C) else T((k, n))
    return Call((bias, T((m, k)), b), scale)


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.linear.default": linear(),
    "aten.mm.default": mm(False),
    "aten.bmm.default": mm(True),
    "aten.matmul.default": matmul(),
    "aten.addmm.default": addmm(),
}
