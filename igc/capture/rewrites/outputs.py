"""Operations with several outputs, as those with one: norms without their statistics, extremes
without their places, a variance and a mean, a weight of norm and direction.

A rewrite returns the list of outputs, None for those that nothing reads; it leaves the call as it
is where one is read that it does not make.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.context import Rewrite, Rewriting
from igc.program.nodes import args_of

aten = torch.ops.aten


def batch_norm(at: Rewriting) -> Any:
    """With the statistics that are given."""
    return _normed(at, at["running_mean"], at["running_var"], False)


def own_batch_norm(at: Rewriting) -> Any:
    """Over the batch's own statistics, as weights are standardised."""
    return _normed(at, None, None, at["training"])


def _normed(at: Rewriting, mean: Any, variance: Any, training: bool) -> Any:
    if _reads_more_than_the_first(at.node):
        return at.kept("its statistics are read")
    x, weight, bias, momentum, eps = (
        at[name] for name in ("input", "weight", "bias", "momentum", "eps")
    )
    return [at(aten.batch_norm.default, x, weight, bias, mean, variance,
               training, momentum, eps, False), None, None]  # fmt: skip


def extreme(target: Any) -> Rewrite:
    """The values of max(x, dim) or min(x, dim), by `target`."""

    def rewrite(at: Rewriting) -> Any:
        if _reads_more_than_the_first(at.node):
            return at.kept("the places of its values are read")
        return [at(target, at["self"], [at["dim"]], at["keepdim"]), None]

    return rewrite


def variance_and_mean(at: Rewriting) -> Any:
    """var_mean(x, dim, ...) is var(x, dim, ...) and mean(x, dim, keepdim)."""
    x, dim, keep = at["self"], at["dim"], at["keepdim"]
    if "unbiased" in at.arguments:
        given = {"correction": int(at["unbiased"]), "keepdim": keep}
    else:
        given = at.keywords("correction", "keepdim")
    return [at(aten.var.correction, x, dim, **given), at(aten.mean.dim, x, dim, bool(keep))]


def weight_norm(at: Rewriting) -> Any:
    """v * (g / |v|), the norm being that of each entry of the first or the last axis."""
    v, g = at["v"], at["g"]
    others = [axis for axis in range(at.rank(v)) if axis != at.axis(v, at["dim"])]
    norm = at(aten.linalg_vector_norm.default, v, 2, others, True)
    return [at(aten.mul.Tensor, v, at(aten.div.Tensor, g, norm)), norm]


def _reads_more_than_the_first(node: fx.Node) -> bool:
    return any(len(user.users) and args_of(user)[1] != 0 for user in node.users)
