"""What each op may read: a surrogate, a function of numbers that are not negative.

It is positive where the op's value may differ from zero, and grows with whatever the op may read,
so that its derivative tells what that is; nothing can cancel. It is given ones and zeros for
floating values ("may differ from zero" or not), and the values themselves of sizes, masks and
indices that are known. The table is independent of the compiler's (`igc.ops`) and smaller: an op
that is not here reads all that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

Surrogate = Callable[..., Any]

MOVES = frozenset({  # the op itself: it moves values, or adds up products of them
    "view", "reshape", "permute", "transpose", "t", "unsqueeze", "squeeze", "expand", "cat",
    "stack", "slice", "select", "narrow", "flip", "roll", "repeat", "repeat_interleave", "getitem",
    "index_select", "index", "gather", "split", "split_with_sizes", "chunk", "unbind", "flatten",
    "constant_pad_nd", "pad", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "sum", "mean",
    "cumsum", "slice_scatter", "select_scatter", "einsum", "mm", "bmm", "matmul", "linear",
    "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "im2col", "col2im", "zeros_like", "ones_like", "full_like", "full",
    "arange",
})  # fmt: skip
ZERO_STAYS = frozenset({
    "relu", "relu6", "leaky_relu", "gelu", "silu", "tanh", "hardswish", "abs", "neg", "elu", "selu",
    "mish", "softshrink", "sqrt", "erf", "sin", "square", "clone", "alias", "detach", "dropout",
    "contiguous", "to", "_to_copy", "positive",
})  # fmt: skip
SUMS = frozenset({"add", "sub", "rsub", "maximum", "minimum"})
WINDOWS = ("max_pool", "avg_pool", "adaptive_", "_adaptive_", "upsample_")


def surrogate(kind: str, target: Any, shape: Any) -> Surrogate | None:
    """The surrogate of an op by its ATen name and function; None where there is none.

    `shape` is that of its value. It takes the op's own arguments.
    """
    if kind in MOVES:
        return target  # type: ignore[no-any-return]  # a function
    if kind in ZERO_STAYS:
        return lambda x, *_, **__: x
    if kind in SUMS:
        return lambda *xs, **_: sum(map(truth, xs))
    if kind.startswith(WINDOWS):
        axes = [int(c) for c in kind if c in "123"]
        return partial(_window, shape, axes[0]) if axes else None
    if kind in TABLE:
        return TABLE[kind]
    if torch.Tag.pointwise in getattr(target, "tags", ()):
        return lambda *xs, **_: 1 + sum(map(truth, xs))
    return None


def truth(x: Any) -> Any:
    """An operand as ones and zeros: known masks, integers and plain numbers too."""
    if not isinstance(x, Tensor):
        return float(x is not None and x != 0)
    return x if x.is_floating_point() else (x != 0).float()


def pick(gate: Any, a: Any, b: Any) -> Any:
    """a + gate * (b - a) for a known gate: where it is 1 only b is read, where it is 0 only a."""
    gate = torch.as_tensor(gate)
    return (gate != 1).float() * truth(a) + (gate != 0).float() * truth(b)


def _where(mask: Tensor, a: Any, b: Any) -> Any:
    if mask.dtype != torch.bool:  # it depends on the input
        return mask + truth(a) + truth(b)
    return mask.float() * truth(a) + (~mask).float() * truth(b)


def _window(shape: Any, axes: int, x: Tensor, *_: Any, **__: Any) -> Tensor:
    """Every position of a channel is read for each position of it."""
    kept = x.shape[: x.ndim - axes]
    return x.reshape(*kept, -1).sum(-1).reshape(*kept, *[1] * axes).expand(shape)


def _affine(x: Tensor, weight: Any, bias: Any) -> Tensor:
    return (x if weight is None else x * weight) + (0 if bias is None else bias)


def _along_channels(x: Tensor, parameters: Any) -> list[Any]:
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    return [None if p is None else p.reshape(shape) for p in parameters]


def _batch_norm(x: Tensor, *args: Any, **_: Any) -> Tensor:
    weight, bias, mean, var = _along_channels(x, args[:4])
    return _affine((x + mean) * (1 + var), weight, bias)


def _group_norm(x: Tensor, groups: int, *args: Any, **_: Any) -> Tensor:
    whole = x.reshape(len(x), groups, -1).sum(-1).repeat_interleave(x.shape[1] // groups, 1)
    whole = whole.reshape(*x.shape[:2], *[1] * (x.ndim - 2)).expand(x.shape)
    return _affine(whole, *_along_channels(x, (*args, None, None)[:2]))


def _layer_norm(
    x: Tensor, over: Any, weight: Any = None, bias: Any = None, *_: Any, **__: Any
) -> Tensor:
    axes = tuple(range(-len(over), 0))
    return _affine(x.sum(axes, keepdim=True).expand(x.shape), weight, bias)


def _embedding(weight: Tensor, at: Tensor, *_: Any, **__: Any) -> Tensor:
    if at.is_floating_point():  # it depends on the input: any row
        return weight.sum(0).expand(*at.shape, -1)
    return torch.nn.functional.embedding(at, weight)


def _softmax(x: Tensor, axis: int, *_: Any, **__: Any) -> Tensor:
    return 1 + x.sum(axis, keepdim=True).expand(x.shape)


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Any = None, *_: Any, **__: Any) -> Tensor:
    scores = 1 + q.sum(-1, keepdim=True) + k.sum((-2, -1), keepdim=True)
    if mask is not None:
        scores = scores + truth(mask).sum(-1, keepdim=True)
    return scores * v.sum(-2, keepdim=True)


TABLE: dict[str, Surrogate] = {
    "mul": lambda a, b: truth(a) * truth(b),
    "div": lambda a, b, **_: truth(a) * (1 + truth(b)),
    "where": _where,
    "masked_fill": lambda x, mask, value: _where(mask, value, x),
    "embedding": _embedding,
    "addmm": lambda c, a, b: c + a @ b,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "softmax": _softmax,
    "_softmax": _softmax,
    "log_softmax": _softmax,
    "amax": lambda x, dim=(), keepdim=False: x.sum(dim, keepdim),
    "amin": lambda x, dim=(), keepdim=False: x.sum(dim, keepdim),
    "linalg_vector_norm": lambda x, _=2, dim=None, keepdim=False, **__: x.sum(dim, keepdim),
    "scaled_dot_product_attention": _attention,
}

#: Why an op has none, and is taken to read all that it is given.
MISSING: Mapping[str, str] = {
    "rare between a gate and what it closes": "addbmm addmv baddbmm linalg_cross instance_norm "
    "rms_norm _safe_softmax log_sigmoid prelu floor_divide tril triu "
    "unfold isin diag_embed diagonal _upsample_bicubic2d_aa _upsample_bilinear2d_aa "
    "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d",
    "one entry of its result hangs on all of a line": "all any argmax argmin count_nonzero "
    "_log_softmax logsumexp max min median nansum prod std var argsort "
    "bucketize cummax cummin cumprod kthvalue logcumsumexp searchsorted sort mode topk",
    "its places are computed: it may read any entry": "_unsafe_index index_add index_copy "
    "index_fill index_put masked_scatter scatter scatter_add scatter_reduce take max_unpool2d "
    "max_unpool3d affine_grid_generator grid_sampler grid_sampler_2d grid_sampler_3d",
    "every entry of its result is made of all": "fft_fft2 fft_ifft2 fft_irfft "
    "fft_irfft2 fft_rfft fft_rfft2 gru "
    "lstm rnn_relu rnn_tanh fft_fft fft_fftn fft_hfft fft_ifft fft_ifftn "
    "fft_ihfft fft_irfftn fft_rfftn stft linalg_cholesky linalg_cholesky_ex linalg_det "
    "linalg_eigh linalg_eigvalsh linalg_inv linalg_inv_ex linalg_matrix_exp "
    "linalg_matrix_power linalg_pinv linalg_qr linalg_slogdet linalg_solve "
    "linalg_solve_triangular linalg_svd linalg_svdvals _cdist_forward",
    "rare, of pairs of numbers": "_conj complex polar view_as_real fft_fftshift fft_ifftshift",
    "made of numbers alone: it reads nothing": "bartlett_window blackman_window hamming_window "
    "hann_window kaiser_window fft_fftfreq "
    "fft_rfftfreq "
    "eye linspace ones zeros scalar_tensor "
    "tril_indices triu_indices sym_size",
    "another spelling, which capture does not make": "_convolution native_group_norm "
    "native_layer_norm "
    ""
    "reflection_pad1d reflection_pad2d "
    "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d",
}
