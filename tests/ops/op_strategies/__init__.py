"""For every op of the table, generated calls of it: one strategy per op, one file per family.

A new op brings a rule, a row in the table of its family and a strategy here; tests compare the two
lists.
"""

from __future__ import annotations

from hypothesis.strategies import SearchStrategy
from op_calls import Call

from op_strategies import (
    attention,
    conv,
    create,
    grid,
    linear,
    norm,
    places,
    pointwise,
    pool,
    reduce,
    select,
    shape,
)

STRATEGIES: dict[str, SearchStrategy[Call]] = {
    **pointwise.CALLS,
    **select.CALLS,
    **create.CALLS,
    **conv.CALLS,
    **linear.CALLS,
    **norm.CALLS,
    **pool.CALLS,
    **places.CALLS,
    **grid.CALLS,
    **reduce.CALLS,
    **shape.CALLS,
    **attention.CALLS,
}
