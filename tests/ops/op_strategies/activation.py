"""Calls of activations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import C, Call, T

from igc.ops.activation import PLAIN
from op_strategies.common import NUMBERS, POSITIVE, Draw, shapes

# The arguments after the tensor, for the ops that take more.
MORE: dict[str, st.SearchStrategy[list[Any]]] = {
    "leaky_relu": st.lists(POSITIVE, max_size=1),
    "elu": st.lists(POSITIVE, max_size=3),
    "celu": st.lists(POSITIVE, max_size=1),
    "hardtanh": st.sampled_from([[], [-2.0, 0.5]]),
    "softplus": st.lists(POSITIVE, max_size=1),
    "hardshrink": st.lists(POSITIVE, max_size=1),
    "softshrink": st.lists(POSITIVE, max_size=1),
    "threshold": st.tuples(NUMBERS, NUMBERS).map(list),
}


@st.composite
def plain(draw: Draw, name: str) -> Call:
    """One tensor of any rank; numbers after it."""
    kwargs = {}
    if name == "gelu":
        kwargs = {"approximate": draw(st.sampled_from(["none", "tanh"]))}
    return Call((T(draw(shapes())), *draw(MORE.get(name, st.just([])))), kwargs)


@st.composite
def prelu(draw: Draw) -> Call:
    """A slope per channel of axis 1, or a single one."""
    shape = draw(shapes(1, 4))
    width = shape[1] if len(shape) > 1 and draw(st.booleans()) else 1
    return Call((T(shape), T((width,)) if draw(st.booleans()) else C((width,))))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{f"aten.{name}.default": plain(name) for name in PLAIN},
    "aten.prelu.default": prelu(),
}
