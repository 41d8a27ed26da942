"""The operations without a rule that a stored graph may name: by family, and why they have none.

Each is a pure function of tensors, read by somebody who asked for that (`igc.ops.allowed` says what
is not). One that capture writes as others seldom stands in a network; any other is `Opaque`: it is
read and computed whole.
"""

from __future__ import annotations

from collections.abc import Mapping

WRITTEN = "capture writes it as others"
SPELLING = "another spelling, which capture does not make"
RARE = "so rare in networks that none has needed it cut"
NUMBERS = "numbers alone: there are no channels to follow"
PLACES = (
    "where it writes hangs on values: any entry may be another's (constant places of one axis are "
    "written out as gathers before)"
)
WHOLE = "it reads all of its operand for one number"
PAIRS = "real and imaginary parts are told apart by no relation"
MOVED = "it moves entries by half of a size, which may change"
MATRICES = "every entry of the result is made of a whole matrix"
MIXED = "every entry of the result is made of all entries"

#: Family -> reason -> names with their overloads.
_LISTED: Mapping[str, Mapping[str, str]] = {
    "activation": {
        WRITTEN: "glu.default rrelu.default",
    },
    "pointwise": {
        WRITTEN: "absolute.default alias.default clip.Tensor clip.default clone.default "
        "contiguous.default detach.default dropout.default fix.default float_power.Scalar "
        "float_power.Tensor_Scalar float_power.Tensor_Tensor lift_fresh_copy.default "
        "logaddexp.default logaddexp2.default positive.default sinc.default to.device to.dtype "
        "to.dtype_layout to.other type_as.default",
        RARE: "angle.default copysign.Scalar copysign.Tensor deg2rad.default digamma.default "
        "erfinv.default floor_divide.Scalar i0.default igamma.default igammac.default "
        "ldexp.Tensor lgamma.default polygamma.default rad2deg.default remainder.Scalar_Tensor "
        "special_entr.default special_erfcx.default special_i0e.default special_i1.default "
        "special_i1e.default special_log_ndtr.default special_ndtri.default "
        "special_xlog1py.default xlogy.Scalar_Other xlogy.Scalar_Self",
    },
    "compare": {
        WRITTEN: "greater.Scalar greater.Tensor greater_equal.Scalar greater_equal.Tensor "
        "heaviside.default isclose.default less.Scalar less.Tensor less_equal.Scalar "
        "less_equal.Tensor not_equal.Scalar not_equal.Tensor",
        RARE: "bitwise_and.Scalar bitwise_left_shift.Tensor bitwise_left_shift.Tensor_Scalar "
        "bitwise_or.Scalar bitwise_right_shift.Tensor bitwise_right_shift.Tensor_Scalar "
        "bitwise_xor.Scalar isin.Tensor_Scalar isin.Tensor_Tensor isneginf.default "
        "isposinf.default signbit.default",
    },
    "combine": {
        WRITTEN: "divide.Scalar divide.Tensor divide.Tensor_mode multiply.Scalar multiply.Tensor "
        "negative.default subtract.Scalar subtract.Tensor true_divide.Scalar true_divide.Tensor",
    },
    "create": {
        WRITTEN: "full_like.default new_full.default new_ones.default new_zeros.default "
        "ones_like.default zeros_like.default",
        NUMBERS: "arange.default arange.start arange.start_step eye.default eye.m "
        "linspace.default scalar_tensor.default tril_indices.default triu_indices.default",
    },
    "conv": {
        SPELLING: "_convolution.default convolution.default",
    },
    "linear": {
        WRITTEN: "addr.default bilinear.default cdist.default cross.default dot.default "
        "einsum.default inner.default linalg_vecdot.default mv.default outer.default "
        "tensordot.default vdot.default",
        RARE: "_cdist_forward.default addbmm.default addmv.default baddbmm.default "
        "linalg_cross.default",
        MATRICES: "linalg_cholesky.default linalg_cholesky_ex.default linalg_det.default "
        "linalg_eigh.default linalg_eigvalsh.default linalg_inv.default linalg_inv_ex.default "
        "linalg_matrix_exp.default linalg_matrix_power.default linalg_pinv.atol_rtol_float "
        "linalg_pinv.atol_rtol_tensor linalg_pinv.default linalg_qr.default "
        "linalg_slogdet.default linalg_solve.default linalg_solve_triangular.default "
        "linalg_svd.default linalg_svdvals.default",
    },
    "norm": {
        SPELLING: "native_group_norm.default native_layer_norm.default",
    },
    "pool": {
        SPELLING: "_adaptive_avg_pool3d.default",
    },
    "resample": {
        SPELLING: "_upsample_bicubic2d_aa.default _upsample_bilinear2d_aa.default "
        "_upsample_nearest_exact1d.default _upsample_nearest_exact2d.default "
        "_upsample_nearest_exact3d.default upsample_trilinear3d.default",
    },
    "window": {
        WRITTEN: "unfold_copy.default",
    },
    "reduce": {
        WRITTEN: "aminmax.default cosine_similarity.default linalg_norm.default max.default "
        "max.other mean.default min.default min.other nanmean.default norm.Scalar "
        "norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype norm.ScalarOpt_dtype "
        "pairwise_distance.default std.default std_mean.correction std_mean.dim sum.default "
        "sum_to_size.default trace.default var.default var_mean.correction var_mean.dim",
        WHOLE: "all.default any.default count_nonzero.default nansum.default prod.default",
        SPELLING: "_safe_softmax.default",
        RARE: "all.dims any.dims count_nonzero.dim_IntList logcumsumexp.default",
    },
    "sort": {
        WRITTEN: "argsort.stable msort.default quantile.default quantile.scalar",
        WHOLE: "median.default",
        RARE: "bucketize.Tensor searchsorted.Tensor",
    },
    "shape": {
        WRITTEN: "_unsafe_view.default adjoint.default atleast_1d.default atleast_2d.default "
        "atleast_3d.default broadcast_tensors.default broadcast_to.default expand_as.default "
        "flatten.using_ints mT.default moveaxis.int moveaxis.intlist movedim.int "
        "movedim.intlist numpy_T.default ravel.default reshape_as.default squeeze.default "
        "swapaxes.default swapdims.default t.default transpose.int unflatten.int view.default "
        "view_as.default _reshape_copy.default expand_copy.default "
        "permute_copy.default squeeze_copy.dim squeeze_copy.dims t_copy.default "
        "transpose_copy.int unsqueeze_copy.default view_copy.default",
        NUMBERS: "sym_size.int",
    },
    "rearrange": {
        WRITTEN: "chunk.default column_stack.default concat.default concatenate.default "
        "dstack.default fliplr.default flipud.default hstack.default meshgrid.default "
        "meshgrid.indexing native_channel_shuffle.default rot90.default select_scatter.default "
        "slice_scatter.default split.Tensor split.sizes split_with_sizes.default stack.default "
        "tensor_split.indices tensor_split.sections tile.default unbind.int unsafe_chunk.default "
        "unsafe_split.Tensor unsafe_split_with_sizes.default vstack.default narrow_copy.default "
        "select_copy.int slice_copy.Tensor split_with_sizes_copy.default unbind_copy.int",
        RARE: "diag_embed.default diagonal.default tril.default triu.default",
    },
    "index": {
        WRITTEN: "one_hot.default take_along_dim.default",
        SPELLING: "_unsafe_index.Tensor",
        PLACES: "index_add.default index_copy.default index_fill.int_Scalar "
        "index_fill.int_Tensor index_put.default masked_scatter.default scatter.reduce "
        "scatter.src scatter.value scatter_add.default scatter_reduce.two",
        RARE: "take.default",
    },
    "recurrent": {
        "every feature of a step feeds every feature of the next": "gru.input lstm.input "
        "rnn_relu.input rnn_tanh.input",
    },
    "spectral": {
        MIXED: "fft_fft.default fft_fft2.default fft_fftn.default fft_hfft.default "
        "fft_ifft.default fft_ifft2.default fft_ifftn.default "
        "fft_ihfft.default fft_irfft.default fft_irfft2.default fft_irfftn.default "
        "fft_rfft.default fft_rfft2.default fft_rfftn.default stft.center "
        "stft.default",
        WRITTEN: "conj.default conj_physical.default imag.default real.default "
        "view_as_complex.default",
        PAIRS: "_conj.default _conj_physical.default complex.default "
        "polar.default view_as_real.default",
        MOVED: "fft_fftshift.default fft_ifftshift.default",
        NUMBERS: "bartlett_window.default bartlett_window.periodic blackman_window.default "
        "blackman_window.periodic hamming_window.default hamming_window.periodic "
        "hamming_window.periodic_alpha hamming_window.periodic_alpha_beta hann_window.default "
        "hann_window.periodic kaiser_window.beta kaiser_window.default kaiser_window.periodic "
        "fft_fftfreq.default fft_rfftfreq.default",
    },
}

#: Family -> full name -> why it has no rule.
WITHOUT_RULE: Mapping[str, Mapping[str, str]] = {
    family: {f"aten.{name}": why for why, names in reasons.items() for name in names.split()}
    for family, reasons in _LISTED.items()
}
