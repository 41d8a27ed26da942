"""What igc knows of each ATen op: one small rule per op, one file per family.

A rule returns a `Relation` (data); `rule_of` looks it up. An op without a rule is `Opaque`.
"""

from __future__ import annotations

from torch import fx

from igc.ops import (
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
from igc.ops.facts import Facts, Rule
from igc.ops.relations import Opaque, Relation
from igc.program.nodes import call_of

#: In the order in which they are listed.
FAMILIES = (
    pointwise, select, create, conv, linear, norm, pool, places, grid, reduce, shape, attention,
)  # fmt: skip
TABLE: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}


def relation(node: fx.Node, facts: Facts) -> Relation:
    """The relation between the node's output channels and its operands'.

    That of one output of several is the relation to the operands of the call that computes it.
    """
    if not facts.is_tensor(node):
        return Opaque("several outputs")
    call = call_of(node)
    rule = TABLE.get(str(call.target))
    return rule(call, facts) if rule is not None else Opaque()


__all__ = ["FAMILIES", "TABLE", "Facts", "Rule", "relation"]
