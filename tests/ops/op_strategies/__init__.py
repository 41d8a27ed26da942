"""For every op of the table, generated calls of it: one strategy per op, one file per family.

A new op brings a rule, a row in the table of its family and a strategy here; tests compare the two
lists.
"""

from __future__ import annotations

import importlib

from hypothesis.strategies import SearchStrategy
from op_calls import Call

from igc.ops import FAMILIES

#: Family -> the strategies of its ops.
CALLS: dict[str, dict[str, SearchStrategy[Call]]] = {
    family: importlib.import_module(f"op_strategies.{family}").CALLS for family in FAMILIES
}
STRATEGIES = {name: calls for family in CALLS.values() for name, calls in family.items()}
