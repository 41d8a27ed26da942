"""Why operations lack an entry in one of igc's tables, where their having no rule does not say so.

By column of docs/ops.md, then by reason: names without their overloads. A test demands a reason for
every gap, and refuses one for an operation that has the entry by now. `igc.ops.macs.UNKNOWN` says
why a cost is not known.
"""

from __future__ import annotations

BY_TORCH = "met too rarely for a form of its own: torch.onnx.export writes the file"
BY_TORCH_ONLY = "ONNX has no such operator at this opset: torch.onnx.export may know a way"
AS_PAD = "capture keeps `pad`, which has a form"
FOLDED = "it is made of weights alone and folded before anything is emitted"
SIZES = "it is a size: those are written where they are used"
CONSTANT = "it is made of numbers alone and folded before anything is emitted"
AS_CALLED = "no public function takes these arguments: the source calls torch.ops.aten"
RARELY_READ = "met too rarely for a spelling of its own: the source calls torch.ops.aten"
WHOLE = "the auditor takes it to read all of its operands: safe, and for these nearly true"
NO_SURROGATE = "the auditor takes it to read all of its operands: safe, and nobody has needed less"

GAPS: dict[str, dict[str, str]] = {
    "onnx": {
        BY_TORCH: "_adaptive_avg_pool2d acosh asinh atanh erfc exp2 expm1 sgn addbmm addmv angle "
        "copysign bitwise_left_shift bitwise_right_shift diag_embed diagonal isin isneginf "
        "isposinf ldexp nansum scatter_reduce signbit take",
        BY_TORCH_ONLY: "cummax cummin cumprod mode digamma "
        "erfinv lgamma logcumsumexp masked_scatter _fft_c2r _fft_r2c fft_fft2 fft_ifft2 fft_irfft "
        "fft_irfft2 fft_rfft fft_rfft2",
        AS_PAD: "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
        "replication_pad2d replication_pad3d",
        FOLDED: "_weight_norm_interface",
        CONSTANT: "eye linspace tril_indices triu_indices",
        SIZES: "sym_size",
    },
    "text": {
        AS_CALLED: "_adaptive_avg_pool2d _log_softmax _softmax max_pool1d_with_indices "
        "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d "
        "adaptive_max_pool3d max_unpool2d max_unpool3d upsample_bicubic2d upsample_bilinear2d "
        "upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "affine_grid_generator grid_sampler grid_sampler_2d grid_sampler_3d constant_pad_nd "
        "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
        "replication_pad3d linalg_vector_norm gru lstm rnn_relu rnn_tanh",
        RARELY_READ: "_fft_c2r _fft_r2c fft_fft2 fft_ifft2 fft_irfft fft_irfft2 fft_rfft fft_rfft2 "
        "linalg_cross acosh addcmul argsort asinh atanh cummax cummin exp2 fmax fmin hardshrink "
        "hypot kthvalue logit mode sgn softshrink unfold xlogy addmv angle bitwise_left_shift "
        "bitwise_right_shift copysign deg2rad diag_embed diagonal digamma erfinv isin isneginf "
        "isposinf ldexp lgamma logcumsumexp rad2deg searchsorted signbit take nansum index_add "
        "index_copy index_fill index_put masked_scatter scatter_add scatter_reduce",
        FOLDED: "_weight_norm_interface",
        CONSTANT: "eye linspace scalar_tensor tril_indices triu_indices",
    },
    "audit": {
        WHOLE: "all any argmax argmin argsort cummax cummin cumprod kthvalue linalg_vector_norm "
        "logsumexp max median min mode prod sort std topk var count_nonzero nansum logcumsumexp "
        "gru lstm rnn_relu rnn_tanh _fft_c2r _fft_r2c fft_fft2 fft_ifft2 fft_irfft fft_irfft2 "
        "fft_rfft fft_rfft2 index_add index_copy index_fill index_put masked_scatter scatter "
        "scatter_add scatter_reduce searchsorted bucketize isin take grid_sampler grid_sampler_2d "
        "grid_sampler_3d max_unpool2d max_unpool3d affine_grid_generator",
        NO_SURROGATE: "_log_softmax _upsample_bicubic2d_aa _upsample_bilinear2d_aa "
        "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d "
        "floor_divide instance_norm log_sigmoid prelu rms_norm unfold addbmm addmv baddbmm "
        "linalg_cross diag_embed diagonal tril triu",
        AS_PAD: "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
        "replication_pad2d replication_pad3d",
        FOLDED: "_weight_norm_interface",
        CONSTANT: "zeros ones eye linspace scalar_tensor tril_indices triu_indices",
        SIZES: "sym_size",
    },
}
