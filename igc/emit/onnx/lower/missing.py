"""Operations that have no direct ONNX form here, and why; names with or without an overload."""

from __future__ import annotations

from collections.abc import Mapping

RARE = "so rare in networks that torch.onnx.export may write it"
SPELLING = "another spelling, which capture does not make"
NUMBERS = "made of numbers alone, and folded to a constant where these are known"

#: Reason -> what `torch.onnx.export` writes.
BY_TORCH: Mapping[str, str] = {
    RARE: "acosh asinh atanh angle erfc exp2 expm1 isneginf isposinf sgn signbit ldexp "
    "bitwise_left_shift bitwise_right_shift nansum logcumsumexp masked_scatter take diag_embed "
    "diagonal addbmm addmv _safe_softmax",
    SPELLING: "convolution native_layer_norm native_group_norm reflection_pad1d reflection_pad2d "
    "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d _adaptive_avg_pool2d "
    ""
    "",
    NUMBERS: "eye linspace bartlett_window blackman_window hamming_window hann_window "
    "kaiser_window",
    "complex numbers, which ONNX has as pairs": "fft_fft2 fft_ifft2 fft_irfft "
    "fft_irfft2 fft_rfft fft_rfft2 "
    "fft_fft fft_fftn fft_hfft fft_ifft fft_ifftn fft_ihfft fft_irfftn fft_rfftn "
    "stft _conj complex _conj_physical polar view_as_real",
    "half of a size, which may change": "fft_fftshift fft_ifftshift",
    "functions and matrices that torch writes as others": "special_entr special_erfcx "
    "special_log_ndtr special_xlog1py linalg_det "
    "linalg_matrix_power",
}
#: Reason -> what nobody writes: the network is refused, with the op and its layer.
REFUSED: Mapping[str, str] = {
    "a factorisation or function that torch.onnx.export does not know": "i0 igamma igammac "
    "polygamma special_i0e special_i1 special_i1e special_ndtri "
    "linalg_cholesky linalg_cholesky_ex linalg_eigh linalg_eigvalsh linalg_inv "
    "linalg_inv_ex linalg_matrix_exp linalg_pinv linalg_qr linalg_slogdet linalg_solve "
    "linalg_solve_triangular linalg_svd linalg_svdvals _cdist_forward",
    "ONNX has no operator for it": "digamma erfinv lgamma copysign cummax cummin cumprod mode isin",
    SPELLING: "_convolution _adaptive_avg_pool3d ",
    NUMBERS: "tril_indices triu_indices fft_fftfreq fft_rfftfreq",
}
