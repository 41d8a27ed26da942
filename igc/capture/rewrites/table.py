"""Which call is rewritten how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from igc.capture.rewrites import assign, create, formulas, outputs, pieces, same, shape
from igc.capture.rewrites.context import Rewrite

aten = torch.ops.aten

REWRITES: Mapping[Any, Rewrite] = {
    aten.clone.default: same.operand,
    aten.detach.default: same.operand,
    aten.detach_.default: same.operand,
    aten.alias.default: same.operand,
    aten.contiguous.default: same.operand,
    aten.lift_fresh.default: same.operand,
    aten.lift_fresh_copy.default: same.operand,
    aten.positive.default: same.operand,
    aten.resolve_conj.default: same.operand,
    aten.resolve_neg.default: same.operand,
    aten.dropout.default: same.dropout,
    aten.feature_dropout.default: same.dropout,
    aten.alpha_dropout.default: same.dropout,
    aten.feature_alpha_dropout.default: same.dropout,
    aten._to_copy.default: same.cast,
    aten.to.dtype: same.cast,
    aten.type_as.default: same.cast,
    aten.transpose.int: shape.transpose,
    aten.t.default: shape.transpose_matrix,
    aten.flatten.using_ints: shape.flatten,
    aten.unflatten.int: shape.unflatten,
    aten.squeeze.default: shape.squeeze,
    aten.squeeze.dim: shape.squeeze,
    aten.squeeze.dims: shape.squeeze,
    aten.roll.default: shape.roll,
    aten.flip.default: shape.flip,
    aten.sym_numel.default: shape.numel,
    aten.split.Tensor: pieces.split,
    aten.split_with_sizes.default: pieces.split,
    aten.unsafe_split.Tensor: pieces.split,
    aten.unsafe_split_with_sizes.default: pieces.split,
    aten.chunk.default: pieces.split,
    aten.unsafe_chunk.default: pieces.split,
    aten.tensor_split.sections: pieces.split,
    aten.unbind.int: pieces.unbind,
    aten.stack.default: pieces.stack,
    aten.meshgrid.default: pieces.meshgrid,
    aten.meshgrid.indexing: pieces.meshgrid,
    aten.mean.default: formulas.over_all_axes(aten.mean.dim),
    aten.sum.default: formulas.over_all_axes(aten.sum.dim_IntList),
    aten.max.default: formulas.over_all_axes(aten.amax.default),
    aten.min.default: formulas.over_all_axes(aten.amin.default),
    aten.glu.default: formulas.glu,
    aten.one_hot.default: formulas.one_hot,
    aten.rrelu.default: formulas.rrelu,
    aten.bilinear.default: formulas.bilinear,
    aten.matmul.default: formulas.matmul,
    aten.new_zeros.default: create.full(0),
    aten.new_ones.default: create.full(1),
    aten.new_full.default: create.full(),
    aten.zeros_like.default: create.full(0),
    aten.ones_like.default: create.full(1),
    aten.full_like.default: create.full(),
    aten.slice_scatter.default: assign.slice_scatter,
    aten.select_scatter.default: assign.select_scatter,
    aten.copy.default: assign.copy,
    aten._native_batch_norm_legit_no_training.default: outputs.batch_norm,
    aten._native_batch_norm_legit.no_stats: outputs.own_batch_norm,
    aten.max.dim: outputs.extreme(aten.amax.default),
    aten.min.dim: outputs.extreme(aten.amin.default),
    aten.var_mean.correction: outputs.variance_and_mean,
    aten.var_mean.dim: outputs.variance_and_mean,
}
