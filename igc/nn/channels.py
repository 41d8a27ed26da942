"""How many channels a traced feature has, and on which axis they live."""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor, fx, nn

from igc.nn.examples import VALUE
from igc.nn.layer_kinds import (
    ACTIVATIONS,
    ADDS,
    BATCH_NORMS,
    CONV_CALLS,
    CONVS,
    LAST_NORMS,
    LINEAR_CALLS,
    LINEARS,
    TRANSPOSED_CALLS,
    is_activation,
    module_of,
    weight_shape,
)
from igc.nn.trace import Traced

# Modules and calls whose output has the channels of their first input, on the same axis.
POOL_NAMES = ("max", "avg", "adaptive_avg", "adaptive_max")
POOLS = tuple(
    getattr(nn, f"{kind}Pool{n}d")
    for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax")
    for n in (1, 2, 3)
)
DROPOUTS = (nn.modules.dropout._DropoutNd,)
KEEPING = (*ACTIVATIONS, *POOLS, *DROPOUTS, nn.Identity, nn.LocalResponseNorm, nn.Upsample)
KEEPING_NAMES = {
    *("sub", "mul", "truediv", "div", "contiguous", "interpolate"),
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
    *("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"),
    *(f"{kind}_pool{n}d" for kind in POOL_NAMES for n in (1, 2, 3)),
}

Layout = tuple[int, int]  # channels, axis


def layout(traced: Traced, node: fx.Node) -> Layout | None:
    """Returns (channels, axis) of the feature `node`, or None when they cannot be known.

    The layer that made the feature decides: a convolution or a batch norm has its channels on
    axis 1, a linear layer or a layer norm on the last (-1); ops that keep channels are seen
    through. Where that gives nothing and the shape is known from example inputs: the last axis of
    [B, C] and [B, N, C], axis 1 of [B, C, H, W] and beyond.
    """
    found = _from_layer(traced, node, {})
    shape = value.shape if isinstance(value := node.meta.get(VALUE), Tensor) else None
    if shape is None:
        return found
    if found is not None:
        return int(shape[found[1]]), found[1]
    if len(shape) < 2:
        return None
    axis = -1 if len(shape) < 4 else 1
    return int(shape[axis]), axis


def _from_layer(traced: Traced, node: fx.Node, seen: dict[fx.Node, Layout | None]) -> Layout | None:
    if node not in seen:
        seen[node] = None
        seen[node] = _own(traced, node) or _inherited(traced, node, seen)
    return seen[node]


def _own(traced: Traced, node: fx.Node) -> Layout | None:
    """The layout that the layer itself states."""
    module: Any = module_of(traced.root, node)
    if isinstance(module, CONVS):
        return module.out_channels, 1
    if isinstance(module, LINEARS):
        return module.out_features, -1
    if isinstance(module, nn.GroupNorm):
        return module.num_channels, 1
    if isinstance(module, BATCH_NORMS):
        return module.num_features, 1
    if isinstance(module, LAST_NORMS):
        return module.normalized_shape[-1], -1
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return module.embedding_dim, -1
    if node.op != "call_function":
        return None
    weight = weight_shape(traced.root, node)
    if weight is None:
        return None
    if node.target in CONV_CALLS:
        return weight[0], 1
    if node.target in TRANSPOSED_CALLS:
        groups = node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
        return (weight[1] * groups, 1) if isinstance(groups, int) else None
    return (weight[0], -1) if node.target in LINEAR_CALLS else None


def _inherited(traced: Traced, node: fx.Node, seen: dict[fx.Node, Layout | None]) -> Layout | None:
    """The layout of the widest input (the others broadcast), for ops that keep their channels."""
    if node.op == "call_function" and node.target is operator.getitem:
        source = node.args[0]
        attention = isinstance(source, fx.Node) and module_of(traced.root, source)
        return (attention.embed_dim, -1) if isinstance(attention, nn.MultiheadAttention) else None
    if not _keeps_channels(traced.root, node):
        return None
    inputs = (_from_layer(traced, n, seen) for n in node.all_input_nodes)
    return max((found for found in inputs if found), default=None, key=lambda found: found[0])


def _keeps_channels(root: nn.Module, node: fx.Node) -> bool:
    module = module_of(root, node)
    if module is not None:
        return isinstance(module, KEEPING)
    name = getattr(node.target, "__name__", "") if node.op == "call_function" else str(node.target)
    return node.op in ("call_function", "call_method") and (
        node.target in ADDS or name in KEEPING_NAMES or is_activation(root, node)
    )
