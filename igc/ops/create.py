"""Tensors of one number, made from sizes alone."""

from __future__ import annotations

import numpy as np
from torch import fx

from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Pointwise


def _created(node: fx.Node, facts: Facts, value: object) -> Pointwise:
    shape, dynamic = facts.shape(node), facts.dynamic(node)
    usual = 1 if len(shape) > 3 else len(shape) - 1  # where channels lie
    axis = next((a for a in (usual, *range(len(shape))) if a >= 0 and not dynamic[a]), None)
    if axis is None or not isinstance(value, (bool, int, float)):
        return Pointwise((), sizes=0)
    mask, number = np.ones(shape[axis], dtype=bool), np.full(shape[axis], float(value))
    return Pointwise((), sizes=0, known=(axis, mask, number))


def full(node: fx.Node, facts: Facts) -> Pointwise:
    """full(sizes, value): every channel is that number, where it is known."""
    return _created(node, facts, argument(node, 1, "fill_value"))


def zeros(node: fx.Node, facts: Facts) -> Pointwise:
    """zeros(sizes)."""
    return _created(node, facts, 0)


def ones(node: fx.Node, facts: Facts) -> Pointwise:
    """ones(sizes)."""
    return _created(node, facts, 1)


RULES: dict[str, Rule] = {
    "aten.full.default": full,
    "aten.zeros.default": zeros,
    "aten.ones.default": ones,
}
