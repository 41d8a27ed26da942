"""What igc knows of each ATen op: one small rule per op, one file per family.

A rule returns a `Relation` (data); `rule_of` looks it up. An op without a rule is `Opaque`.
"""

from __future__ import annotations

from torch import fx

from igc.graph import call_of
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

TABLE: dict[str, Rule] = {
    **pointwise.RULES,
    **select.RULES,
    **create.RULES,
    **conv.RULES,
    **linear.RULES,
    **norm.RULES,
    **pool.RULES,
    **places.RULES,
    **grid.RULES,
    **reduce.RULES,
    **shape.RULES,
    **attention.RULES,
}


def relation(node: fx.Node, facts: Facts) -> Relation:
    """The relation between the node's output channels and its operands'.

    That of one output of several is the relation to the operands of the call that computes it.
    """
    if not facts.is_tensor(node):
        return Opaque("several outputs")
    call = call_of(node)
    rule = TABLE.get(str(call.target))
    return rule(call, facts) if rule is not None else Opaque()


__all__ = ["TABLE", "Facts", "Rule", "relation"]
