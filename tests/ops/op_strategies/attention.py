"""Calls of scaled dot-product attention."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import C, Call, T

from op_strategies.common import Draw, broadcast, shapes


@st.composite
def attention(draw: Draw) -> Call:
    """q [..., N, d], k [..., M, d], v [..., M, e]; masks, causal, self-attention, shared heads."""
    lead = draw(shapes(0, 2))
    n, m, d, e = (draw(st.integers(2, 4)) for _ in range(4))
    how = draw(st.sampled_from(["plain", "plain", "mask", "causal", "same", "batch", "heads"]))
    scale = {"scale": draw(st.sampled_from([0.5, 1.0]))} if draw(st.booleans()) else {}
    if how == "same":
        x = T((*lead, n, d), name="x")
        return Call((x, x, x), scale)
    if how == "heads":
        q, k = T((2, 4, n, d)), (2, 2, m)
        return Call((q, T((*k, d)), T((*k, e))), {**scale, "enable_gqa": True}, "shared heads")
    q, k, v = T((*lead, n, d)), T((*lead, m, d)), T((*lead, m, e))
    if how == "batch" and lead:
        k, v = T((*draw(broadcast(lead)), m, d)), T((*draw(broadcast(lead)), m, e))
        return Call((q, k, v), scale)
    if how == "causal":
        return Call((q, k, v, None, 0.0, True), scale, "causal")
    rest: tuple[Any, ...] = ()
    if how == "mask":
        shape = (*draw(broadcast(lead)), draw(st.sampled_from([1, n])), m)
        if draw(st.booleans()):
            rest = (draw(st.sampled_from([T(shape), C(shape)])),)
        else:
            return Call((q, k, v, C(shape, "bool")), scale, "masked tokens")
    return Call((q, k, v, *rest), scale)


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.scaled_dot_product_attention.default": attention()
}
