"""Calls of matrix products: vectors, matrices, batches that broadcast, the same tensor twice."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import SIZES, Draw, bias_of, broadcast, per_channel, shapes


def _matrix(draw: Draw, shape: tuple[int, ...]) -> T | C:
    how = draw(st.sampled_from(["input", "float", "sparse"]))
    sparse = how == "sparse" and len(shape) == 2
    return T(shape) if how == "input" else C(shape, "sparse" if sparse else "float")


@st.composite
def linear(draw: Draw) -> Call:
    """linear(x [..., I], weight [O, I] or [I], bias)."""
    shape, outputs = draw(shapes(1, 4)), draw(SIZES)
    if draw(st.integers(0, 7)) == 0:
        return Call((T(shape), C(shape[-1:])))
    weight = _matrix(draw, (outputs, shape[-1]))
    return Call((T(shape), weight, bias_of(draw, outputs, weight)))


@st.composite
def mm(draw: Draw, batch: bool) -> Call:
    """[M, K] @ [K, N], with one batch axis for bmm."""
    m, k, n, lead = (draw(SIZES) for _ in range(4))
    before = (lead,) if batch else ()
    if draw(st.integers(0, 5)) == 0:
        return Call((T((*before, k, k), name="x"), T((*before, k, k), name="x")))
    return Call((T((*before, m, k)), _matrix(draw, (*before, k, n))))


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
    return Call((T(a), _matrix(draw, b)))


@st.composite
def addmm(draw: Draw) -> Call:
    """addmm(bias, a, b), the bias a vector or a matrix, scaled or not."""
    m, k, n = (draw(SIZES) for _ in range(3))
    how = draw(st.sampled_from(["plain", "plain", "plain", "scaled", "wide"]))
    bias = per_channel(draw, n)
    if how == "wide":
        bias = T((draw(st.sampled_from([1, m])), n))
    scale = {"beta": 0.5, "alpha": 2.0} if how == "scaled" else {}
    b = _matrix(draw, (k, n)) if how == "plain" and isinstance(bias, C) else T((k, n))
    return Call((bias, T((m, k)), b), scale)


@st.composite
def embedding(draw: Draw) -> Call:
    """Rows of a table, constant or not, with columns of zeros or not, by whole numbers."""
    shape, width = draw(shapes(1, 3)), draw(SIZES)
    return Call((_matrix(draw, (3, width)), T(shape, "ids")))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.linear.default": linear(),
    "aten.mm.default": mm(False),
    "aten.bmm.default": mm(True),
    "aten.matmul.default": matmul(),
    "aten.addmm.default": addmm(),
    "aten.embedding.default": embedding(),
}
