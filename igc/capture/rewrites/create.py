"""Tensors made in the likeness of another: told by their sizes and type alone.

`x.new_zeros(2, 3)` or `ones_like(x)` reads nothing of x but its shape and type; written as `full`,
no channel of x is kept for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.context import Rewrite, Rewriting

aten = torch.ops.aten


def full(value: float | None = None) -> Rewrite:
    """`full` of the sizes that are given, else of the operand's, in the type of the result.

    `value` fills it, by default the one that the call is given.
    """

    def rewrite(at: Rewriting) -> Any:
        fill, dtype = at["fill_value"] if value is None else value, at.dtype(at.node)
        if isinstance(fill, fx.Node):
            return at.kept("its value is a size")
        sizes = at["size"] if "size" in at.arguments else at.sizes(at["self"])
        fill = bool(fill) if dtype == torch.bool else fill
        return at(aten.full.default, sizes, fill, dtype=dtype, device=torch.device("cpu"))

    return rewrite
