"""Operations with several outputs, as those with one: norms without their statistics, extremes
without their places, a variance and a mean.

A rewrite returns the list of outputs, None for those that nothing reads; it leaves the node as it
is where one is read that it does not make.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.program.nodes import args_of, call_like, copy_node
from igc.program.shapes import Value

aten = torch.ops.aten
Env = dict[fx.Node, Any]


def _batch_norm(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    x, weight, bias, mean, var, momentum, eps = (
        env[a] if isinstance(a, fx.Node) else a for a in node.args
    )
    return [call_like(graph, node, aten.batch_norm.default, x, weight, bias, mean, var,
                 False, momentum, eps, False)]  # fmt: skip


def _own_batch_norm(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    """Over the batch's own statistics, as weights are standardised; only the first output read."""
    if _reads_more_than_the_first(node):
        return copy_node(graph, node, env.__getitem__)
    x, weight, bias, training, momentum, eps = (
        env[a] if isinstance(a, fx.Node) else a for a in node.args
    )
    return [call_like(graph, node, aten.batch_norm.default, x, weight, bias, None, None,
                  training, momentum, eps, False), None, None]  # fmt: skip


def _extreme(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    """The values of max(x, dim) and min(x, dim), where nothing reads the indices."""
    if _reads_more_than_the_first(node):
        return copy_node(graph, node, env.__getitem__)
    x, *rest = args_of(node)
    target = aten.amax.default if node.target is aten.max.dim else aten.amin.default
    keep = rest[1] if len(rest) > 1 else bool(node.kwargs.get("keepdim", False))
    return [call_like(graph, node, target, env[x], [rest[0]], keep), None]


def _variance_and_mean(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    """var_mean(x, dim, ...) is var(x, dim, ...) and mean(x, dim, keepdim)."""
    x, *rest = args_of(node)
    kwargs = dict(node.kwargs)
    dim = rest[0] if rest else kwargs.pop("dim", None)
    if node.target is aten.var_mean.dim:
        unbiased, keep = (
            rest[i] if len(rest) > i else kwargs.get(name, default)
            for i, name, default in ((1, "unbiased", True), (2, "keepdim", False))
        )
        kwargs = {"correction": 1 if unbiased else 0, "keepdim": keep}
    variance = call_like(graph, node, aten.var.correction, env[x], dim, **kwargs)
    mean = call_like(graph, node, aten.mean.dim, env[x], dim, bool(kwargs.get("keepdim", False)))
    return [variance, mean]


def _reads_more_than_the_first(node: fx.Node) -> bool:
    return any(len(user.users) and args_of(user)[1] != 0 for user in node.users)


SEVERAL: dict[Any, Callable[..., Any]] = {
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten._native_batch_norm_legit.no_stats: _own_batch_norm,
    aten.max.dim: _extreme,
    aten.min.dim: _extreme,
    aten.var_mean.correction: _variance_and_mean,
    aten.var_mean.dim: _variance_and_mean,
}
