"""Normalisation in evaluation mode: batch, layer, group, instance, RMS."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx

from igc.graph import args_of
from igc.ops.facts import Facts, Rule
from igc.ops.relations import Blocks, Follow, Opaque, Pointwise, Relation


def _params(node: fx.Node, positions: range, facts: Facts) -> list[fx.Node]:
    args = [args_of(node)[p] for p in positions if p < len(node.args)]
    return [a for a in args if isinstance(a, fx.Node)]


def batch_norm(node: fx.Node, facts: Facts) -> Relation:
    """batch_norm(x, weight, bias, mean, var, training, momentum, eps): per-channel affine."""
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    if bool(args_of(node)[5]) or args_of(node)[3] is None:
        return Opaque("batch norm over the batch's own statistics")
    out = facts.shape(node)
    params = tuple(Follow(p, (1,)) for p in _params(node, range(1, 5), facts))
    weight, bias = facts.constant(args_of(node)[1]), facts.constant(args_of(node)[2])
    known = None
    if weight is not None and bool((weight == 0).any()):
        shift = torch.zeros_like(weight) if bias is None else bias
        known = (1, (weight == 0).numpy(), shift.double().numpy().astype(np.float64))
    return Pointwise((facts.follow(x, out), *params), survives="any", known=known)


def layer_norm(node: fx.Node, facts: Facts) -> Relation:
    """layer_norm(x, normalized_shape, weight, bias, eps): the normalised axes stay whole."""
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    out = facts.shape(node)
    shape = args_of(node)[1]
    first = len(out) - (len(shape) if isinstance(shape, (list, tuple)) else 1)
    axes = tuple(a if a < first else None for a in range(len(out)))
    params = tuple(
        Follow(p, (None,) * len(facts.shape(p))) for p in _params(node, range(2, 4), facts)
    )
    return Pointwise((Follow(x, axes), *params), fixed=frozenset(range(first, len(out))))


def group_norm(node: fx.Node, facts: Facts) -> Relation:
    """group_norm(x, groups, weight, bias, eps): a group lives or dies as a whole."""
    x, groups = args_of(node)[0], args_of(node)[1]
    assert isinstance(x, fx.Node) and isinstance(groups, int)
    out = facts.shape(node)
    width = out[1] // groups
    params = tuple(_params(node, range(2, 4), facts))
    return Blocks(x, 1, width, width, params, count_at=1, fixed=frozenset(range(2, len(out))))


def instance_norm(node: fx.Node, facts: Facts) -> Relation:
    """instance_norm(x, weight, bias, mean, var, use_input_stats, ...): each channel alone."""
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    out = facts.shape(node)
    params = tuple(Follow(p, (1,)) for p in _params(node, range(1, 5), facts))
    axes = (0, 1, *(None for _ in out[2:]))
    return Pointwise((Follow(x, axes), *params), fixed=frozenset(range(2, len(out))))


RULES: dict[str, Rule] = {
    "aten.batch_norm.default": batch_norm,
    "aten.layer_norm.default": layer_norm,
    "aten.rms_norm.default": layer_norm,
    "aten.group_norm.default": group_norm,
    "aten.instance_norm.default": instance_norm,
}
