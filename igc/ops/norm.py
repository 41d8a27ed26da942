"""Normalisation in evaluation mode: batch, layer, group, instance, RMS."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Blocks, Follow, Opaque, Pointwise
from igc.program.schema import argument, bind

Known = tuple[int, NDArray[np.bool_], NDArray[np.float64]]
AFFINE = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")


def _params(node: fx.Node, *names: str) -> list[fx.Node]:
    """The tensors of the given names, those that the call has."""
    args = bind(node)
    return [args[n] for n in names if isinstance(args.get(n), fx.Node)]


def _known(node: fx.Node, facts: Facts) -> Known | None:
    """Channels whose weight is exactly zero are their bias, where that is known."""
    weight, bias = (facts.constant(argument(node, name)) for name in AFFINE)
    if weight is None or not bool((weight == 0).any()):
        return None
    if bias is None and argument(node, "bias") is not None:
        return None
    shift = torch.zeros_like(weight) if bias is None else bias
    return 1, (weight == 0).numpy(), shift.double().numpy().astype(np.float64)


def _own_statistics(node: fx.Node, facts: Facts, batch: int | None) -> Pointwise:
    """Channel by channel over its own mean and variance, of each image or of the whole batch."""
    out = facts.shape(node)
    params = tuple(Follow(p, (1,)) for p in _params(node, *AFFINE))
    whole = frozenset(a for a in range(len(out)) if a not in (batch, 1))
    axes = tuple(None if a in whole else a for a in range(len(out)))
    x = Follow(operand(node, "input"), axes)
    return Pointwise((x, *params), fixed=whole, known=_known(node, facts))


def batch_norm(node: fx.Node, facts: Facts) -> Pointwise | Opaque:
    """batch_norm(x, weight, bias, mean, var, training, momentum, eps): per-channel affine."""
    if argument(node, "running_mean") is None:
        return _own_statistics(node, facts, None)
    if bool(argument(node, "training")):
        return Opaque("batch norm in training mode changes its statistics")
    return _by_running_statistics(node, facts)


def _by_running_statistics(node: fx.Node, facts: Facts) -> Pointwise:
    x = facts.follow(operand(node, "input"), facts.shape(node))
    params = tuple(Follow(p, (1,)) for p in _params(node, *AFFINE, *STATISTICS))
    return Pointwise((x, *params), survives="any", known=_known(node, facts))


def layer_norm(node: fx.Node, facts: Facts) -> Pointwise:
    """layer_norm(x, normalized_shape, weight, bias, eps): the normalised axes stay whole."""
    out = facts.shape(node)
    shape = argument(node, "normalized_shape")
    first = len(out) - (len(shape) if isinstance(shape, (list, tuple)) else 1)
    axes = tuple(a if a < first else None for a in range(len(out)))
    params = tuple(Follow(p, (None,) * len(facts.shape(p))) for p in _params(node, *AFFINE))
    x = Follow(operand(node, "input"), axes)
    return Pointwise((x, *params), fixed=frozenset(range(first, len(out))))


def group_norm(node: fx.Node, facts: Facts) -> Blocks:
    """group_norm(x, groups, weight, bias, eps): a group lives or dies as a whole."""
    out, groups = facts.shape(node), argument(node, "num_groups")
    assert isinstance(groups, int)
    width = out[1] // groups
    return Blocks(
        operand(node, "input"), 1, width, width, tuple(_params(node, *AFFINE)),
        count_at="num_groups", fixed=frozenset(range(2, len(out))),
    )  # fmt: skip


def instance_norm(node: fx.Node, facts: Facts) -> Pointwise | Opaque:
    """instance_norm(x, weight, bias, mean, var, use_input_stats, ...): each channel alone."""
    if not argument(node, "use_input_stats"):
        return _by_running_statistics(node, facts)
    if argument(node, "running_mean") is not None:
        return Opaque("instance norm in training mode changes its statistics")
    return _own_statistics(node, facts, 0)


RULES: dict[str, Rule] = {
    "aten.batch_norm.default": batch_norm,
    "aten.layer_norm.default": layer_norm,
    "aten.rms_norm.default": layer_norm,
    "aten.group_norm.default": group_norm,
    "aten.instance_norm.default": instance_norm,
}
