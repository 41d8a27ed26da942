"""What igc knows of each ATen op: one small rule per op, one file per family.

A rule returns a `Relation` (data); `relation` looks it up. An op without a rule is `Opaque`.
A family has the same name here, in `igc/emit/onnx/lower/` and in `tests/ops/op_strategies/`.
"""

from __future__ import annotations

from types import ModuleType

from torch import fx

from igc.ops import (
    activation,
    attention,
    combine,
    compare,
    conv,
    create,
    index,
    linear,
    norm,
    pointwise,
    pool,
    rearrange,
    reduce,
    resample,
    shape,
    sort,
    window,
)
from igc.ops.facts import Facts, Rule
from igc.ops.relations import Opaque, Relation
from igc.program.nodes import call_of
from igc.program.schema import operation

#: By name, in the order in which they are listed.
FAMILIES: dict[str, ModuleType] = {
    family.__name__.rpartition(".")[2]: family
    for family in (
        activation, pointwise, compare, combine, create, conv, linear, attention, norm, pool,
        resample, window, reduce, sort, shape, rearrange, index,
    )
}  # fmt: skip
TABLE: dict[str, Rule] = {
    name: rule for family in FAMILIES.values() for name, rule in family.RULES.items()
}


def relation(node: fx.Node, facts: Facts) -> Relation:
    """The relation between the node's output channels and its operands'.

    That of one output of several is the relation to the operands of the call that computes it.
    """
    if not facts.is_tensor(node):
        return Opaque("several outputs")
    call = call_of(node)
    rule = TABLE.get(operation(call))
    return rule(call, facts) if rule is not None else Opaque()


__all__ = ["FAMILIES", "TABLE", "Facts", "Rule", "relation"]
