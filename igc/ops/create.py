"""Tensors of one number, made from sizes alone."""

from __future__ import annotations

import numpy as np
from torch import fx

from igc.ops.facts import Facts, Rule
from igc.ops.relations import Pointwise
from igc.program.schema import argument


def _created(node: fx.Node, facts: Facts, value: object) -> Pointwise:
    shape, axis = facts.shape(node), facts.usual_axis(node)
    # Other numbers would be folded into parameters, and rounded: only zeros decide what is read.
    if axis is None or isinstance(value, fx.Node) or value != 0:
        return Pointwise((), sizes="size")
    mask = np.ones(shape[axis], dtype=bool)
    return Pointwise((), sizes="size", known=(axis, mask, np.zeros(shape[axis])))


def full(node: fx.Node, facts: Facts) -> Pointwise:
    """full(sizes, value): made of sizes alone; where the value is 0, all channels are known."""
    return _created(node, facts, argument(node, "fill_value"))


def ones(node: fx.Node, facts: Facts) -> Pointwise:
    """ones(sizes): made of sizes alone."""
    return _created(node, facts, 1)


def zeros(node: fx.Node, facts: Facts) -> Pointwise:
    """zeros(sizes): made of sizes alone, all channels are known."""
    return _created(node, facts, 0)


RULES: dict[str, Rule] = {
    "aten.full.default": full,
    "aten.zeros.default": zeros,
    "aten.ones.default": ones,
}
