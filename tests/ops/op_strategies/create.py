"""Calls that make a tensor of one number."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import Call

from op_strategies.common import NUMBERS, Draw, shapes


@st.composite
def created(draw: Draw, number: bool) -> Call:
    """op(sizes) or op(sizes, number)."""
    sizes: list[Any] = list(draw(shapes()))
    return Call((sizes, draw(NUMBERS)) if number else (sizes,))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.full.default": created(True),
    "aten.zeros.default": created(False),
    "aten.ones.default": created(False),
}
