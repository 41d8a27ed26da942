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
    "_safe_softmax _unsafe_index",
    "a module in PyTorch, which takes its weights in another form": "gru lstm rnn_relu rnn_tanh",
    "torch.fft calls several ops": "fft_fft2 fft_ifft2 fft_irfft fft_irfft2 "
    "fft_rfft fft_rfft2 "
    "fft_fft fft_fftn fft_hfft fft_ifft fft_ifftn fft_ihfft fft_irfftn fft_rfftn "
    "stft fft_fftshift fft_ifftshift fft_fftfreq fft_rfftfreq",
    "complex numbers and matrices, called by their own names": "_conj complex polar view_as_real "
    "_conj_physical linalg_cholesky linalg_cholesky_ex "
    "linalg_det linalg_eigh linalg_eigvalsh linalg_inv linalg_inv_ex linalg_matrix_exp "
    "linalg_matrix_power linalg_pinv linalg_qr linalg_slogdet linalg_solve "
    "linalg_solve_triangular linalg_svd linalg_svdvals _cdist_forward i0 igamma igammac "
    "polygamma special_entr special_erfcx special_i0e special_i1 special_i1e "
    "special_log_ndtr special_ndtri special_xlog1py",
    "made of numbers alone, folded where these are known": "bartlett_window blackman_window "
    "hamming_window hann_window kaiser_window",
    "another spelling, which capture does not make": "_convolution convolution native_group_norm "
    "native_layer_norm "
    ""
    "_adaptive_avg_pool2d _adaptive_avg_pool3d "
    "_upsample_bicubic2d_aa.default _upsample_bilinear2d_aa.default "
    "_upsample_nearest_exact1d.default _upsample_nearest_exact2d.default "
    "_upsample_nearest_exact3d.default upsample_trilinear3d.default",
}
