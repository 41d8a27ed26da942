"""Calls that other calls say as well: written out in those, which have rules."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.context import Rewrite, Rewriting
from igc.program.nodes import copy_node

aten = torch.ops.aten


def over_all_axes(target: Any) -> Rewrite:
    """A reduction to one number, as the reduction `target` over every axis."""

    def rewrite(at: Rewriting) -> Any:
        x = at["self"]
        return at(target, x, list(range(at.rank(x))), **at.keywords("dtype"))

    return rewrite


def glu(at: Rewriting) -> Any:
    """glu(x) = first half * sigmoid(second half)."""
    x, axis = at["self"], at.axis(at["self"], at["dim"])
    half = at.dims(x)[axis] // 2
    first, second = at.slice(x, axis, 0, half), at.slice(x, axis, half, 2 * half)
    return at(aten.mul.Tensor, first, at(aten.sigmoid.default, second))


def one_hot(at: Rewriting) -> Any:
    """one_hot(x, n) = x[..., None] == arange(n), as int64."""
    classes = at["num_classes"]
    if isinstance(classes, fx.Node):
        return at.kept("the number of its classes is a size")
    cpu = torch.device("cpu")
    numbers = at(aten.arange.default, classes, dtype=torch.int64, device=cpu)
    equal = at(aten.eq.Tensor, at(aten.unsqueeze.default, at["self"], -1), numbers)
    return at(aten._to_copy.default, equal, dtype=torch.int64)


def rrelu(at: Rewriting) -> Any:
    """In evaluation mode the slope is the mean of its bounds."""
    if at["training"]:
        return at.kept("its slopes are random")
    return at(aten.leaky_relu.default, at["self"], (at["lower"] + at["upper"]) / 2)


def bilinear(at: Rewriting) -> Any:
    """bilinear(a, b, W [O, I, J], bias): a @ W as [..., O, J], times b, summed over J."""
    a, b, weight, bias = (at[name] for name in ("input1", "input2", "weight", "bias"))
    outputs, rows, columns = at.dims(weight)
    line = at(aten.permute.default, weight, [1, 0, 2])
    matrix = at(aten.reshape.default, line, [rows, outputs * columns])
    product = at(aten.matmul.default, a, matrix)
    lead = at.sizes(a)[:-1]
    parts = at(aten.reshape.default, product, [*lead, outputs, columns])
    terms = at(aten.mul.Tensor, parts, at(aten.unsqueeze.default, b, -2))
    total = at(aten.sum.dim_IntList, terms, [at.rank(a)])
    return total if bias is None else at(aten.add.Tensor, total, bias)


def matmul(at: Rewriting) -> Any:
    """A product with a vector is one with a matrix of one column, or of one row.

    So a weight per branch is read number by number, as in any other product.
    """
    a, b = at["self"], at["other"]
    ranks = at.rank(a), at.rank(b)
    gone = [axis for axis, rank in zip((-2, -1), ranks, strict=True) if rank == 1]
    if not gone:
        return copy_node(at.graph, at.node, at.env.__getitem__)
    rows = at(aten.unsqueeze.default, a, 0) if ranks[0] == 1 else a
    columns = at(aten.unsqueeze.default, b, -1) if ranks[1] == 1 else b
    whole = max(*ranks, 2)
    product = at(aten.matmul.default, rows, columns)
    return at(aten.squeeze.dims, product, sorted(axis % whole for axis in gone))
