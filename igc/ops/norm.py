"""Normalisation in evaluation mode: batch, layer, group, instance, RMS."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from igc.ops.facts import Facts, Rule
from igc.ops.relations import Blocks, Follow, Opaque, Pointwise
from igc.program.nodes import args_of

Known = tuple[int, NDArray[np.bool_], NDArray[np.float64]]


def _params(node: fx.Node, positions: range, facts: Facts) -> list[fx.Node]:
    args = [args_of(node)[p] for p in positions if p < len(node.args)]
    return [a for a in args if isinstance(a, fx.Node)]


def _known(node: fx.Node, facts: Facts) -> Known | None:
    """Channels whose weight is exactly zero are their bias, where that is known."""
    weight, bias = facts.constant(args_of(node)[1]), facts.constant(args_of(node)[2])
    if weight is None or not bool((weight == 0).any()):
        return None
    if bias is None and args_of(node)[2] is not None:
        return None
    shift = torch.zeros_like(weight) if bias is None else bias
    return 1, (weight == 0).numpy(), shift.double().numpy().astype(np.float64)


def _own_statistics(node: fx.Node, facts: Facts, batch: int | None) -> Pointwise:
    """Channel by channel over its own mean and variance, of each image or of the whole batch."""
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    out = facts.shape(node)
    params = tuple(Follow(p, (1,)) for p in _params(node, range(1, 3), facts))
    whole = frozenset(a for a in range(len(out)) if a not in (batch, 1))
    axes = tuple(None if a in whole else a for a in range(len(out)))
    return Pointwise((Follow(x, axes), *params), fixed=whole, known=_known(node, facts))


def batch_norm(node: fx.Node, facts: Facts) -> Pointwise | Opaque:
    """batch_norm(x, weight, bias, mean, var, training, momentum, eps): per-channel affine."""
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    if args_of(node)[3] is None:
        return _own_statistics(node, facts, None)
    if bool(args_of(node)[5]):
        return Opaque("batch norm in training mode changes its statistics")
    out = facts.shape(node)
    params = tuple(Follow(p, (1,)) for p in _params(node, range(1, 5), facts))
    return Pointwise((facts.follow(x, out), *params), survives="any", known=_known(node, facts))


def layer_norm(node: fx.Node, facts: Facts) -> Pointwise:
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


def group_norm(node: fx.Node, facts: Facts) -> Blocks:
    """group_norm(x, groups, weight, bias, eps): a group lives or dies as a whole."""
    x, groups = args_of(node)[0], args_of(node)[1]
    assert isinstance(x, fx.Node) and isinstance(groups, int)
    out = facts.shape(node)
    width = out[1] // groups
    params = tuple(_params(node, range(2, 4), facts))
    return Blocks(x, 1, width, width, params, count_at=1, fixed=frozenset(range(2, len(out))))


def instance_norm(node: fx.Node, facts: Facts) -> Pointwise | Opaque:
    """instance_norm(x, weight, bias, mean, var, use_input_stats, ...): each channel alone."""
    if bool(args_of(node)[5]) and args_of(node)[3] is not None:
        return Opaque("instance norm in training mode changes its statistics")
    if bool(args_of(node)[5]):
        return _own_statistics(node, facts, 0)
    return batch_norm(node, facts)


RULES: dict[str, Rule] = {
    "aten.batch_norm.default": batch_norm,
    "aten.layer_norm.default": layer_norm,
    "aten.rms_norm.default": layer_norm,
    "aten.group_norm.default": group_norm,
    "aten.instance_norm.default": instance_norm,
}
