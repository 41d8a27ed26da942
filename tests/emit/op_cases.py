"""One example per operation that emit has a text or an ONNX form for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EYE = torch.eye(6, dtype=torch.bool)
RAMP, RAMP_16 = torch.linspace(0, 1, 8), torch.linspace(0, 1, 16)
INDEX = torch.tensor([1, 0, 3])
MASK = torch.tensor([True, False] * 4).view(8, 1, 1)
W = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))

_POSITIVE = {
    name: getattr(torch, name) for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt")
}

Case = Callable[[Tensor], Any]

# Each takes an 2x8x16x16 tensor.
POINTWISE: dict[str, Case] = {
    **{
        name: getattr(torch, name)
        for name in (
            "abs", "atan", "ceil", "cos", "cosh", "erf", "exp", "floor", "neg", "reciprocal",
            "relu", "round", "sigmoid", "sign", "sin", "sinh", "square", "tan", "tanh",
        )
    },
    **{
        name: getattr(F, name)
        for name in (
            "celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
            "logsigmoid", "mish", "relu6", "selu", "silu", "softplus", "softsign", "tanhshrink",
            "hardshrink", "softshrink",
        )
    },
    **{
        name: lambda x, f=f: f(x.abs() + 0.1)
        for name, f in _POSITIVE.items()
    },
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "elu_alpha": lambda x: F.elu(x, 0.5),
    "softplus_beta": lambda x: F.softplus(x, 2.0),
    "leaky_slope": lambda x: F.leaky_relu(x, 0.3),
    "prelu": lambda x: F.prelu(x, RAMP),
    "threshold": lambda x: F.threshold(x, 0.1, -1.0),
    "glu": lambda x: F.glu(x, 1),
    "isfinite": lambda x: (x / (x > 0)).isfinite() | x.isinf(),
    "frac": lambda x: (x * 3).frac() + (x * 3).trunc(),
    "fmod": lambda x: torch.fmod(x * 5, 1.5) + torch.fmod(x * 5, -1.5),
    "logit": lambda x: torch.logit(x.sigmoid(), 1e-6) + torch.logit(x.sigmoid()),
    "nan_to_num": lambda x: (x / x.relu()).nan_to_num(0.5, 3, -3),
    "degrees": lambda x: torch.deg2rad(x) + torch.rad2deg(x),
    "xlogy": lambda x: torch.xlogy(x.relu(), x.relu()) + torch.special.xlogy(x, x.abs()),
    "hypot": lambda x: torch.hypot(x, x.flip(1)) + torch.hypot(x.relu(), x.relu()),
    "atan2": lambda x: torch.atan2(x, x.flip(1)) + torch.atan2(x, x.relu()) + torch.atan2(x, -x),
    "fmax": lambda x: torch.fmax(x.log(), x.flip(1)) + torch.fmin(x, x.flip(1).sqrt()),
    "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "bucketize": lambda x: torch.bucketize(x, RAMP) + torch.bucketize(x, RAMP, right=True),
    "searchsorted": lambda x: torch.searchsorted(RAMP, x, side="right"),
    "rrelu": lambda x: F.rrelu(x),
    "cosine": lambda x: F.cosine_similarity(x, x.flip(1), dim=1),
    "aliases": lambda x: torch.divide(torch.multiply(x, 2), torch.subtract(x.abs(), -1.0)),
    "add": lambda x: x + x[:, :1],
    "add_scalar": lambda x: 1 + x,
    "add_alpha": lambda x: torch.add(x, x, alpha=2),
    "sub": lambda x: x - 2,
    "sub_alpha": lambda x: torch.sub(x, x.abs(), alpha=3),
    "rsub": lambda x: 1 - x,
    "rsub_alpha": lambda x: torch.rsub(x, 3.0, alpha=2),
    "mul": lambda x: x * -2.5,
    "mul_bool": lambda x: x * (x > 0),
    "div": lambda x: x / 3,
    "div_floor": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "rdiv": lambda x: 2 / (x.abs() + 1),
    "pow2": lambda x: x**2,
    "pow_negative": lambda x: (x.abs() + 1) ** -2,
    "pow_tensor": lambda x: (x.abs() + 1) ** x,
    "rpow": lambda x: 2**x,
    "floor_divide": lambda x: x // 0.3,
    "remainder": lambda x: x % 0.7,
    "maximum": lambda x: torch.maximum(x, x.flip(1)),
    "minimum": lambda x: torch.minimum(x, x.flip(1)),
    "lerp": lambda x: torch.lerp(x, x.flip(1), 0.3),
    "lerp_tensor": lambda x: torch.lerp(x, x.flip(1), x.sigmoid()),
    "where": lambda x: torch.where(MASK, x, x.flip(1)),
    "where_scalar": lambda x: torch.where(x > 0, x, 0.5),
    "where_self": lambda x: torch.where(x > 0, 0.5, x),
    "masked_fill": lambda x: x.masked_fill(MASK, 3.0),
    "clamp": lambda x: x.clamp(-0.5, 0.7),
    "clamp_min": lambda x: x.clamp(min=0.1),
    "clamp_max": lambda x: x.clip(max=0.1),
    "clamp_tensor": lambda x: torch.clamp(x, min=x.flip(1)),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1),
    "compare": lambda x: ((x > 0.1).float() + (x <= 0) + (x == x) + (x != x) + (x >= 0) + (x < 2)),
    "logic": lambda x: (((x > 0) & (x < 1)) | ~(x > -1)).float(),
    "logical": lambda x: torch.logical_or(x > 1, torch.logical_not(x > 0)).float(),
    "xor": lambda x: torch.logical_xor(x > 0, x > 1).float(),
    "isnan": lambda x: torch.isnan(x).float(),
    "cast": lambda x: x.to(torch.int32) + x.to(torch.float64),
    "type_as": lambda x: (x > 0).type_as(x) * x,
}  # fmt: skip


def _grid(x: Tensor, indexing: str) -> tuple[Tensor, ...]:
    """The rows and columns of an image's pixels."""
    return torch.meshgrid(
        torch.arange(x.shape[2]), torch.arange(1, x.shape[3] + 1), indexing=indexing
    )


SHAPING: dict[str, Case] = {
    "flatten": lambda x: x.flatten(1),
    "view": lambda x: x.view(x.shape[0], 2, -1, x.shape[3]),
    "reshape_batch": lambda x: x.reshape(-1, 4),
    "reshape_two": lambda x: x.reshape(x.shape[0] * 8, x.shape[2], x.shape[3]),
    "unflatten": lambda x: x.unflatten(1, (2, 4)),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(-1, 1),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1),
    "expand_new": lambda x: x.expand(2, *x.shape),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat_new": lambda x: x.repeat(2, 1, 1, 1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "repeat_interleave_rows": lambda x: x.repeat_interleave(3, 2),
    "cat": lambda x: torch.cat([x, x.relu()], 1),
    "cat_last": lambda x: torch.cat([x, x.relu()], -1),
    "stack": lambda x: torch.stack([x, x.relu()], 2),
    "hstack": lambda x: torch.hstack([x, x.relu()]),
    "slice": lambda x: x[:, 2:5],
    "slice_step": lambda x: x[:, 1::2],
    "slice_negative": lambda x: x[..., -3:],
    "narrow": lambda x: x.narrow(1, 1, 3),
    "select": lambda x: x[:, 3],
    "select_last": lambda x: x[..., -1],
    "index_select": lambda x: x.index_select(1, INDEX),
    "index": lambda x: x[:, INDEX],
    "gather": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "chunk": lambda x: x.chunk(2, 1)[1],
    "split": lambda x: x.split(3, 1)[2],
    "unbind": lambda x: x.unbind(1)[2],
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll((1, -2), (1, 1)),
    "unfold": lambda x: x.unfold(1, 4, 2),
    "im2col": lambda x: F.unfold(x, (3, 2), dilation=(1, 2), padding=1, stride=(2, 1)),
    "im2col of one pixel": lambda x: F.unfold(x, 1, stride=2),
    "col2im": lambda x: F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1),
    "col2im of strides": lambda x: F.fold(
        F.unfold(x, 2, dilation=2, stride=2), x.shape[2:], 2, dilation=2, stride=2
    ),
    "meshgrid": lambda x: torch.stack(_grid(x, "ij")).type_as(x) + x[:, :2],
    "meshgrid_xy": lambda x: _grid(x, "xy")[1].t() + x.square(),
    "numel": lambda x: x / x[0].numel(),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "pad": lambda x: F.pad(x, (1, 2, 3, 0)),
    "pad_value": lambda x: F.pad(x, (1, 0), value=1.5),
    "pad_reflect": lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"),
    "pad_replicate": lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"),
    "pad_circular": lambda x: F.pad(x, (1, 2, 3, 0), mode="circular"),
    "like": lambda x: torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 2.0),
    "new": lambda x: x + x.new_zeros(x.shape) + x.new_full((8, 1, 1), 0.5),
    "tril": lambda x: x.tril(),
    "triu": lambda x: x.triu(1),
    "index_two": lambda x: x[:, INDEX, INDEX.flip(0)],
    "index_apart": lambda x: x[INDEX % 2, :, INDEX],
    "index_grid": lambda x: x[:, :, INDEX[:, None], INDEX],
    "index_put": lambda x: x.index_put((INDEX[:2],), x[:1, :, :1]),
    "index_put_two": lambda x: x.permute(1, 2, 0, 3).index_put((INDEX, INDEX), x[0, 0, 0, 0]),
    "index_put_more": lambda x: x.index_put((INDEX % 2,), x[:1], accumulate=True),
    "index_add": lambda x: x.index_add(1, INDEX, x[:, :3], alpha=2),
    "index_copy": lambda x: x.index_copy(1, INDEX, x[:, 5:]),
    "index_fill": lambda x: x.index_fill(1, INDEX, 0.5),
    "scatter": lambda x: x.scatter(1, x.argmax(1, keepdim=True), x[:, 2:]),
    "scatter_value": lambda x: x.scatter(1, x.argmax(1, keepdim=True), 0.5),
    "scatter_add": lambda x: x.scatter_add(1, x.argmax(1, keepdim=True), x),
    "take_along": lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), 1),
    "rot90": lambda x: torch.rot90(x, 1, (2, 3)),
    "places": lambda x: x.argmax(1) // 3 + (x.argmax(1) - 7) // 2,
    "size_as_number": lambda x: x * x.shape[0] + x.shape[2] // 2,
}

WHOLE_AXES: dict[str, Case] = {
    "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max_pool_ceil": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "max_pool_dilated": lambda x: F.max_pool2d(x, 2, 1, dilation=2),
    "max_pool_1d": lambda x: F.max_pool1d(x.flatten(2), 3),
    "avg_pool": lambda x: F.avg_pool2d(x, 2),
    "avg_pool_padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool_excluded": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "avg_pool_ceil": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "global_pool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 1),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest_size": lambda x: F.interpolate(x, size=(11, 21)),
    "nearest_exact": lambda x: F.interpolate(x, size=(11, 21), mode="nearest-exact"),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "bilinear_aligned": lambda x: F.interpolate(x, (9, 7), mode="bilinear", align_corners=True),
    "bilinear_as": lambda x: F.interpolate(x[..., ::2, ::2], x.shape[2:], mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "bilinear, smooth": lambda x: F.interpolate(x, size=(1, 3), mode="bilinear", antialias=True),
    "bilinear to a point": lambda x: F.interpolate(x, size=1, mode="bilinear", antialias=True),
    "bicubic, smooth": lambda x: F.interpolate(x, size=(3, 7), mode="bicubic", antialias=True),
    "bicubic up, smooth": lambda x: F.interpolate(x, size=(9, 5), mode="bicubic", antialias=True),
    "linear_1d": lambda x: F.interpolate(x.flatten(2), scale_factor=2, mode="linear"),
    "mean": lambda x: x.mean(1),
    "mean_all": lambda x: x.mean(),
    "sum": lambda x: x.sum((2, 3), keepdim=True),
    "amax": lambda x: x.amax(1),
    "amin": lambda x: x.amin((1, 2)),
    "max_dim": lambda x: x.max(1)[0],
    "min_dim": lambda x: x.min(1).values,
    "max_all": lambda x: x.max(),
    "prod": lambda x: x.prod(1),
    "std": lambda x: x.std(1),
    "var": lambda x: x.var((1,), keepdim=True, unbiased=False),
    "logsumexp": lambda x: x.logsumexp(1),
    "norm": lambda x: x.norm(dim=1),
    "normalize": lambda x: F.normalize(x, dim=1),
    "any": lambda x: (x > 0).any(1).float(),
    "all": lambda x: (x > 0).all(1).float(),
    "argmax": lambda x: x.argmax(1),
    "argmax_all": lambda x: x.argmax(),
    "max_place": lambda x: x.max(1)[1],
    "min_both": lambda x: tuple(x.min(2, keepdim=True)),
    "std_image": lambda x: x.std((2, 3), keepdim=True),
    "var_image": lambda x: x.var((-1,), correction=0),
    "norm_3": lambda x: torch.linalg.vector_norm(x, 3, dim=1),
    "norm_inf": lambda x: torch.linalg.vector_norm(x, float("inf"), dim=(2, 3)),
    "norm_least": lambda x: torch.linalg.vector_norm(x, -float("inf"), dim=1, keepdim=True),
    "max_pool_places": lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
    "max_unpool": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "max_unpool_size": lambda x: F.max_unpool2d(
        *F.max_pool2d(x, 2, return_indices=True), 2, output_size=x.shape[2:]
    ),
    "max_unpool_3d": lambda x: F.max_unpool3d(
        *F.max_pool3d(x.unsqueeze(2), (1, 2, 2), return_indices=True), (1, 2, 2)
    ),
    "count_nonzero": lambda x: (x > 0).count_nonzero(1),
    "cross": lambda x: torch.linalg.cross(x[:, :3], x[:, 3:6], dim=1),
    "sort": lambda x: tuple(x.sort(1)),
    "sort_down": lambda x: tuple(x.sort(-1, descending=True)),
    "argsort": lambda x: x.argsort(1, descending=True),
    "topk": lambda x: tuple(x.topk(3, 1)),
    "topk_least": lambda x: tuple(x.topk(2, 1, largest=False)),
    "median": lambda x: tuple(x.median(1)),
    "median_image": lambda x: tuple(x.flatten(2).median(2)),
    "kthvalue": lambda x: tuple(x.kthvalue(3, 1, keepdim=True)),
    "quantile": lambda x: x.quantile(0.3, dim=1),
    "cumsum": lambda x: x.cumsum(1),
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
}

# Each takes a 2x6x16 tensor: batch and length are dynamic, the width is not.
TOKENS: dict[str, Case] = {
    "matmul": lambda x: x @ x.transpose(1, 2),
    "tensordot": lambda x: torch.tensordot(x, W, dims=([2], [1])),
    "bilinear": lambda x: F.bilinear(x, x[..., :3], W.view(3, 16, 1).expand(3, 16, 3), W[:, 0]),
    "pairwise": lambda x: F.pairwise_distance(x, x.flip(2)),
    "bmm": lambda x: torch.bmm(x, x.transpose(1, 2)),
    "baddbmm": lambda x: torch.baddbmm(x @ x.mT, x, x.mT, beta=0.5, alpha=2),
    "addmm": lambda x: torch.addmm(x[:, 0, :3], x[:, 0], W.t(), beta=0.5, alpha=2),
    "outer": lambda x: torch.outer(x[0, 0], x[0, 1]),
    "linear": lambda x: F.linear(x, W),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "attention_scaled": lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.3),
    "attention_causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "attention_mask": lambda x: F.scaled_dot_product_attention(x, x, x, x @ x.mT),
    "attention_bool": lambda x: F.scaled_dot_product_attention(x, x, x, EYE | (x @ x.mT > 0)),
    "rms_norm": lambda x: F.rms_norm(x, (16,), RAMP_16),
    "layer_norm_bare": lambda x: F.layer_norm(x, (16,)),
    "layer_norm_two": lambda x: F.layer_norm(x, (6, 16)),
}
