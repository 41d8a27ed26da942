"""Grouped convolutions: dead groups go, live ones keep equal widths.

A grouped kernel is a rectangle: every group has the same number of outputs and of inputs. The live
groups are widened to the widest of them, with channels that were dead; `extra` counts what that
cost in kernel elements (times the kernel's area).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class GroupPlan:
    """Kept rows and columns, one line per live group, as channel numbers of the whole tensor.

    `live` are the numbers of the live groups, `widths` how many rows and columns each needs.
    """

    live: Numbers  # [live groups]
    widths: Numbers  # [live groups, 2]
    rows: Numbers  # [live groups, R]
    columns: Numbers  # [live groups, K]
    rows_mask: Mask
    columns_mask: Mask
    extra: int


def plan_groups(matrix: Mask, kept: Mask, groups: int) -> GroupPlan:
    """The plan for `matrix` [out, in within group] when the `kept` outputs are needed."""
    wanted = kept.reshape(groups, -1)
    per_in = matrix.shape[1]
    live = np.flatnonzero(wanted.any(axis=1))
    matrix = matrix.reshape(groups, -1, per_in)
    need_in = np.stack([matrix[g][wanted[g]].any(axis=0) for g in live])
    rows = _widen(wanted[live])
    columns = _widen(need_in)
    used = sum(int(wanted[g].sum()) * int(n.sum()) for g, n in zip(live, need_in, strict=True))
    return GroupPlan(
        live,
        np.stack([wanted[live].sum(axis=1), need_in.sum(axis=1)], axis=1),
        rows + live[:, None] * wanted.shape[1],
        columns + live[:, None] * per_in,
        _mask(rows + live[:, None] * wanted.shape[1], kept.size),
        _mask(columns + live[:, None] * per_in, groups * per_in),
        rows.size * columns.shape[1] - used,
    )


def _widen(wanted: Mask) -> Numbers:
    """Per line the wanted positions, filled up with unwanted ones to the longest line, sorted."""
    width = max(int(wanted.sum(axis=1).max()), 1)
    order = np.argsort(~wanted, axis=1, kind="stable")
    result: Numbers = np.sort(order[:, :width], axis=1)
    return result


def _mask(numbers: Numbers, size: int) -> Mask:
    mask = np.zeros(size, dtype=bool)
    mask[numbers.reshape(-1)] = True
    return mask
