"""The operations that a stored graph may name: pure functions of tensors, and nothing else.

A checkpoint is untrusted input, and ATen also holds operations that read files, change their
operands, draw random numbers or return uninitialised memory. So the table is an explicit list.
Operations whose result hangs on the memory layout (`as_strided`) or on the data
(`nonzero`, `masked_select`) are left out too: igc cannot slice or shape-check them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch

from igc.errors import BadCheckpoint, BadInput
from igc.program.nodes import SIZE_OPS

Target = Callable[..., Any]

CONVOLUTION = (
    "_convolution.default", "conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding",
    "conv3d.default", "conv3d.padding", "conv_transpose1d.default", "conv_transpose2d.input",
    "conv_transpose3d.input", "convolution.default",
)  # fmt: skip
PRODUCT = (
    "addbmm.default", "addmm.default", "addmv.default", "addr.default", "baddbmm.default",
    "bilinear.default", "bmm.default", "cdist.default", "cosine_similarity.default",
    "cross.default", "dot.default", "einsum.default", "inner.default", "linalg_cross.default",
    "linalg_norm.default", "linalg_vecdot.default", "linalg_vector_norm.default", "linear.default",
    "matmul.default", "mm.default", "mv.default", "outer.default", "pairwise_distance.default",
    "scaled_dot_product_attention.default", "tensordot.default", "vdot.default",
)  # fmt: skip
NORM = (
    "_log_softmax.default", "_native_batch_norm_legit.no_stats",
    "_native_batch_norm_legit_no_training.default", "_safe_softmax.default", "_softmax.default",
    "_weight_norm.default", "_weight_norm_interface.default", "batch_norm.default",
    "group_norm.default", "instance_norm.default", "layer_norm.default", "log_softmax.int",
    "native_group_norm.default", "native_layer_norm.default", "norm.Scalar", "norm.ScalarOpt_dim",
    "norm.ScalarOpt_dim_dtype", "norm.ScalarOpt_dtype", "rms_norm.default", "softmax.int",
)  # fmt: skip
UNARY = (
    "abs.default", "absolute.default", "acos.default", "acosh.default", "alias.default",
    "angle.default", "asin.default", "asinh.default", "atan.default", "atanh.default",
    "bitwise_not.default", "ceil.default", "celu.default", "clone.default", "contiguous.default",
    "cos.default", "cosh.default", "deg2rad.default", "detach.default", "digamma.default",
    "dropout.default", "elu.default", "erf.default", "erfc.default", "erfinv.default",
    "exp.default", "exp2.default", "expm1.default", "fix.default", "floor.default", "frac.default",
    "gelu.default", "glu.default", "hardshrink.default", "hardsigmoid.default",
    "hardswish.default", "hardtanh.default", "isfinite.default", "isinf.default", "isnan.default",
    "isneginf.default", "isposinf.default", "leaky_relu.default", "lgamma.default",
    "lift_fresh_copy.default", "log.default", "log10.default", "log1p.default", "log2.default",
    "log_sigmoid.default", "logical_not.default", "logit.default", "mish.default",
    "nan_to_num.default", "neg.default", "negative.default", "positive.default", "prelu.default",
    "rad2deg.default", "reciprocal.default", "relu.default", "relu6.default", "round.decimals",
    "round.default", "rrelu.default", "rsqrt.default", "selu.default", "sgn.default",
    "sigmoid.default", "sign.default", "signbit.default", "silu.default", "sin.default",
    "sinc.default", "sinh.default", "softplus.default", "softshrink.default", "sqrt.default",
    "square.default", "tan.default", "tanh.default", "threshold.default", "trunc.default",
)  # fmt: skip
BINARY = (
    "add.Scalar", "add.Tensor", "addcdiv.default", "addcmul.default", "atan2.default",
    "bitwise_and.Scalar", "bitwise_and.Tensor", "bitwise_left_shift.Tensor",
    "bitwise_left_shift.Tensor_Scalar", "bitwise_or.Scalar", "bitwise_or.Tensor",
    "bitwise_right_shift.Tensor", "bitwise_right_shift.Tensor_Scalar", "bitwise_xor.Scalar",
    "bitwise_xor.Tensor", "clamp.Tensor", "clamp.default", "clamp_max.Tensor",
    "clamp_max.default", "clamp_min.Tensor", "clamp_min.default", "clip.Tensor", "clip.default",
    "copysign.Scalar", "copysign.Tensor", "div.Scalar", "div.Scalar_mode", "div.Tensor",
    "div.Tensor_mode", "divide.Scalar", "divide.Tensor", "divide.Tensor_mode", "float_power.Scalar",
    "float_power.Tensor_Scalar", "float_power.Tensor_Tensor", "floor_divide.Scalar",
    "floor_divide.default", "fmax.default", "fmin.default", "fmod.Scalar", "fmod.Tensor",
    "heaviside.default", "hypot.default", "ldexp.Tensor", "lerp.Scalar", "lerp.Tensor",
    "logaddexp.default", "logaddexp2.default", "masked_fill.Scalar", "masked_fill.Tensor",
    "maximum.default", "minimum.default", "mul.Scalar", "mul.Tensor", "multiply.Scalar",
    "multiply.Tensor", "pow.Scalar", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "remainder.Scalar",
    "remainder.Scalar_Tensor", "remainder.Tensor", "rsub.Scalar", "rsub.Tensor", "sub.Scalar",
    "sub.Tensor", "subtract.Scalar", "subtract.Tensor", "true_divide.Scalar", "true_divide.Tensor",
    "where.Scalar", "where.ScalarOther", "where.ScalarSelf", "where.self", "xlogy.Scalar_Other",
    "xlogy.Scalar_Self", "xlogy.Tensor",
)  # fmt: skip
COMPARISON = (
    "eq.Scalar", "eq.Tensor", "ge.Scalar", "ge.Tensor", "greater.Scalar", "greater.Tensor",
    "greater_equal.Scalar", "greater_equal.Tensor", "gt.Scalar", "gt.Tensor", "isclose.default",
    "isin.Tensor_Scalar", "isin.Tensor_Tensor", "le.Scalar", "le.Tensor", "less.Scalar",
    "less.Tensor", "less_equal.Scalar", "less_equal.Tensor", "logical_and.default",
    "logical_or.default", "logical_xor.default", "lt.Scalar", "lt.Tensor", "max.other",
    "min.other", "ne.Scalar", "ne.Tensor", "not_equal.Scalar", "not_equal.Tensor",
)  # fmt: skip
REDUCTION = (
    "all.default", "all.dim", "all.dims", "amax.default", "amin.default", "aminmax.default",
    "any.default", "any.dim", "any.dims", "argmax.default", "argmin.default",
    "count_nonzero.default", "count_nonzero.dim_IntList", "logsumexp.default",
    "max.default", "max.dim", "mean.default", "mean.dim", "median.default", "median.dim",
    "min.default", "min.dim", "nanmean.default", "nansum.default", "prod.default", "prod.dim_int",
    "quantile.default", "quantile.scalar", "std.correction", "std.default", "std.dim",
    "std_mean.correction", "std_mean.dim", "sum.default", "sum.dim_IntList", "sum_to_size.default",
    "trace.default", "var.correction", "var.default", "var.dim", "var_mean.correction",
    "var_mean.dim",
)  # fmt: skip
SCAN_AND_SORT = (
    "argsort.default", "argsort.stable", "bucketize.Tensor", "cummax.default", "cummin.default",
    "cumprod.default", "cumsum.default", "kthvalue.default",
    "logcumsumexp.default", "msort.default", "searchsorted.Tensor", "sort.default", "sort.stable",
    "mode.default", "topk.default",
)  # fmt: skip
INDEXING = (
    "_unsafe_index.Tensor", "embedding.default", "gather.default", "index.Tensor",
    "index_add.default", "index_copy.default", "index_fill.int_Scalar", "index_fill.int_Tensor",
    "index_put.default", "index_select.default", "masked_scatter.default", "narrow.default",
    "narrow_copy.default", "one_hot.default", "scatter.reduce", "scatter.src", "scatter.value",
    "scatter_add.default", "scatter_reduce.two", "select.int", "select_copy.int",
    "select_scatter.default", "slice.Tensor", "slice_copy.Tensor", "slice_scatter.default",
    "take.default", "take_along_dim.default",
)  # fmt: skip
LAYOUT = (
    "_reshape_alias.default", "_reshape_copy.default", "_unsafe_view.default",
    "adjoint.default", "atleast_1d.default", "atleast_2d.default", "atleast_3d.default",
    "broadcast_tensors.default", "broadcast_to.default", "cat.default", "channel_shuffle.default",
    "chunk.default", "col2im.default", "column_stack.default", "concat.default",
    "concatenate.default", "constant_pad_nd.default", "diag_embed.default", "diagonal.default",
    "dstack.default", "expand.default", "expand_as.default", "expand_copy.default",
    "flatten.using_ints", "flip.default", "fliplr.default", "flipud.default", "hstack.default",
    "im2col.default", "mT.default", "meshgrid.default", "meshgrid.indexing", "moveaxis.int",
    "moveaxis.intlist", "movedim.int", "movedim.intlist", "native_channel_shuffle.default",
    "numpy_T.default", "pad.default", "permute.default", "permute_copy.default",
    "pixel_shuffle.default", "pixel_unshuffle.default", "ravel.default", "reflection_pad1d.default",
    "reflection_pad2d.default", "reflection_pad3d.default", "repeat.default",
    "repeat_interleave.self_int", "replication_pad1d.default", "replication_pad2d.default",
    "replication_pad3d.default", "reshape.default", "reshape_as.default", "roll.default",
    "rot90.default", "split.Tensor", "split.sizes", "split_with_sizes.default",
    "split_with_sizes_copy.default", "squeeze.default", "squeeze.dim", "squeeze.dims",
    "squeeze_copy.dim", "squeeze_copy.dims", "stack.default", "swapaxes.default",
    "swapdims.default", "t.default", "t_copy.default", "tensor_split.indices",
    "tensor_split.sections", "tile.default", "transpose.int", "transpose_copy.int", "tril.default",
    "triu.default", "unbind.int", "unbind_copy.int", "unflatten.int", "unfold.default",
    "unfold_copy.default", "unsafe_chunk.default", "unsafe_split.Tensor",
    "unsafe_split_with_sizes.default", "unsqueeze.default", "unsqueeze_copy.default",
    "view.default", "view_as.default", "view_copy.default", "vstack.default",
)  # fmt: skip
CAST = (
    "_to_copy.default", "to.device", "to.dtype", "to.dtype_layout", "to.other", "type_as.default",
)  # fmt: skip
POOLING = (
    "_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default", "adaptive_avg_pool1d.default",
    "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default", "adaptive_max_pool1d.default",
    "adaptive_max_pool2d.default", "adaptive_max_pool3d.default", "avg_pool1d.default",
    "avg_pool2d.default", "avg_pool3d.default", "max_pool1d.default",
    "max_pool1d_with_indices.default", "max_pool2d.default", "max_pool2d_with_indices.default",
    "max_pool3d.default", "max_pool3d_with_indices.default", "max_unpool2d.default",
    "max_unpool3d.default",
)  # fmt: skip
RESIZING = (
    "_upsample_bicubic2d_aa.default", "_upsample_bicubic2d_aa.vec",
    "_upsample_bilinear2d_aa.default", "_upsample_bilinear2d_aa.vec",
    "_upsample_nearest_exact1d.default", "_upsample_nearest_exact1d.vec",
    "_upsample_nearest_exact2d.default", "_upsample_nearest_exact2d.vec",
    "_upsample_nearest_exact3d.default", "_upsample_nearest_exact3d.vec",
    "affine_grid_generator.default", "grid_sampler.default", "grid_sampler_2d.default",
    "grid_sampler_3d.default", "upsample_bicubic2d.default", "upsample_bicubic2d.vec",
    "upsample_bilinear2d.default", "upsample_bilinear2d.vec", "upsample_linear1d.default",
    "upsample_linear1d.vec", "upsample_nearest1d.default", "upsample_nearest1d.vec",
    "upsample_nearest2d.default", "upsample_nearest2d.vec", "upsample_nearest3d.default",
    "upsample_nearest3d.vec", "upsample_trilinear3d.default", "upsample_trilinear3d.vec",
)  # fmt: skip
CREATION = (
    "arange.default", "arange.start", "arange.start_step", "eye.default", "eye.m", "full.default",
    "full_like.default", "linspace.default", "new_full.default", "new_ones.default",
    "new_zeros.default", "ones.default", "ones_like.default", "scalar_tensor.default",
    "tril_indices.default", "triu_indices.default", "zeros.default", "zeros_like.default",
)  # fmt: skip
SPECTRAL = (
    "_fft_c2r.default", "_fft_r2c.default", "fft_fft2.default", "fft_ifft2.default",
    "fft_irfft.default", "fft_irfft2.default", "fft_rfft.default", "fft_rfft2.default",
)  # fmt: skip
RECURRENT = ("gru.input", "lstm.input", "rnn_relu.input", "rnn_tanh.input")

ATEN = (
    *CONVOLUTION, *PRODUCT, *NORM, *UNARY, *BINARY, *COMPARISON, *REDUCTION, *SCAN_AND_SORT,
    *INDEXING, *LAYOUT, *CAST, *POOLING, *RESIZING, *CREATION, *SPECTRAL, *RECURRENT,
    "sym_size.int",
)  # fmt: skip

FROZEN: dict[str, tuple[str, Any]] = {
    "aten.batch_norm.default": ("training", False),
    "aten.dropout.default": ("train", False),
    "aten.gru.input": ("train", False),
    "aten.lstm.input": ("train", False),
    "aten.rnn_relu.input": ("train", False),
    "aten.rnn_tanh.input": ("train", False),
    "aten.rrelu.default": ("training", False),
    "aten.scaled_dot_product_attention.default": ("dropout_p", 0.0),
}
"""Operations that draw random numbers, or change their operands, unless this argument is so."""

SIZE_NAMES: dict[str, Target] = {f"operator.{name}": op for op, name in SIZE_OPS.items()}
GETITEM = "operator.getitem"


@functools.cache
def allowed() -> dict[str, Target]:
    """Every operation a stored graph may name, by name; what this torch lacks is left out."""
    table: dict[str, Target] = {**SIZE_NAMES, GETITEM: operator.getitem}
    for name in ATEN:
        packet, _, overload = name.partition(".")
        found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        if isinstance(found, torch._ops.OpOverload):
            table[f"aten.{name}"] = found
    return table


def lookup(name: str) -> Target:
    """The operation of that name; raises `BadCheckpoint` for one outside the table."""
    found = allowed().get(name)
    if found is None:
        raise BadCheckpoint(
            f"the graph names the operation '{name[:80]}', which a stored graph may not use"
        )
    return found


@functools.cache
def _names() -> dict[Target, str]:
    return {op: name for name, op in allowed().items()}


def name_of(target: Any, layer: str = "") -> str:
    """The name under which `target` is stored; raises `BadInput` for one outside the table."""
    found = _names().get(target)
    if found is None:
        where = f"layer '{layer}'" if layer else "the network"
        raise BadInput(
            f"{where} calls {target}, which a stored graph may not use; "
            "compile the module itself, or rewrite it with ordinary tensor operations"
        )
    return found
