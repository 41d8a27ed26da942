"""Operations that source text calls by `torch.ops.aten`, and why; with or without an overload."""

from __future__ import annotations

from collections.abc import Mapping

MISSING: Mapping[str, str] = {
    "torch.ops.aten reads as well, and it is rare": "acosh angle asinh atanh deg2rad digamma "
    "erfinv exp2 hardshrink softshrink isneginf isposinf lgamma logit rad2deg sgn signbit addcmul "
    "bitwise_left_shift bitwise_right_shift copysign fmax fmin hypot ldexp xlogy isin nansum "
    "argsort cummax cummin kthvalue logcumsumexp searchsorted mode index_add index_copy "
    "index_fill index_put masked_scatter scatter_add scatter_reduce take diag_embed diagonal "
    "unfold eye linspace tril_indices triu_indices scalar_tensor linalg_cross linalg_vector_norm "
    "addmv",
    "torch.nn.functional takes its arguments in another form": "adaptive_max_pool1d "
    "adaptive_max_pool2d adaptive_max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices max_unpool2d max_unpool3d grid_sampler grid_sampler_2d "
    "grid_sampler_3d affine_grid_generator constant_pad_nd reflection_pad1d reflection_pad2d "
    "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
    "upsample_nearest1d.default upsample_nearest2d.default upsample_nearest3d.default "
    "upsample_linear1d.default upsample_bilinear2d.default upsample_bicubic2d.default",
    "torch.softmax and its like choose by themselves which op runs": "_log_softmax _softmax "
    "_safe_softmax _weight_norm_interface _unsafe_index",
    "a module in PyTorch, which takes its weights in another form": "gru lstm rnn_relu rnn_tanh",
    "torch.fft calls several ops": "_fft_c2r _fft_r2c fft_fft2 fft_ifft2 fft_irfft fft_irfft2 "
    "fft_rfft fft_rfft2",
    "another spelling, which capture does not make": "_convolution convolution native_group_norm "
    "native_layer_norm "
    ""
    "_adaptive_avg_pool2d _adaptive_avg_pool3d "
    "_upsample_bicubic2d_aa.default _upsample_bilinear2d_aa.default "
    "_upsample_nearest_exact1d.default _upsample_nearest_exact2d.default "
    "_upsample_nearest_exact3d.default upsample_trilinear3d.default",
}
