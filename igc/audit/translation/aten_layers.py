"""The gated network's layers: contractions, norms, pools, resizing, attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy
import torch
from torch import fx

from igc.audit.translation.gated import Gated, Rule, per_axis, told
from igc.audit.translation.idioms import (
    affine,
    batch_norm,
    lookup,
    settled,
)
from igc.audit.translation.layers import Window
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import Known, Value, permuted, reshaped
from igc.program.schema import op_name


def _conv(at: Gated, node: fx.Node, args: dict[str, Any]) -> Value:
    weight = at.numbers(args["weight"])
    axes = weight.ndim - 2
    kernel, dilation = weight.shape[2:], per_axis(args["dilation"], axes)
    before = after = (0,) * axes
    if args["padding"] == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        before, after = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    elif args["padding"] != "valid":
        before = after = per_axis(args["padding"], axes)
    window = Window(tuple(kernel), per_axis(args["stride"], axes), before, after, dilation)
    x = at.tensor(args["input"])
    return at.on.convolution(x, weight, at.numbers(args["bias"]), window, args["groups"])


def _conv_transpose(at: Gated, node: fx.Node, args: dict[str, Any]) -> Value:
    weight = at.numbers(args["weight"])
    axes = weight.ndim - 2
    pad = per_axis(args["padding"], axes)
    window = Window(tuple(weight.shape[2:]), per_axis(args["stride"], axes), pad, pad,
                    per_axis(args["dilation"], axes))  # fmt: skip
    return at.on.convolution(at.tensor(args["input"]), weight, at.numbers(args["bias"]), window,
                             args["groups"], per_axis(args["output_padding"], axes))  # fmt: skip


def _linear(at: Gated, node: fx.Node, args: dict[str, Any]) -> Value:
    return at.on.linear(at.tensor(args["input"]), at.numbers(args["weight"]),
                        at.numbers(args["bias"]))  # fmt: skip


def _matmul(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    a, b = list(args.values())[:2]
    return at.on.product(at.operand(a), at.operand(b))


def _addmm(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    product = at.on.product(at.operand(args["mat1"]), at.operand(args["mat2"]))
    by = [float(args["beta"]), float(args["alpha"])]
    return at.on.add(at.operand(args["self"]), product, by=by)


def _batch_norm(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    if args.get("training") or args["running_mean"] is None:
        raise NotShown("statistics of the batch")
    mean, var, weight, bias = (
        at.numbers(args[k]) for k in ("running_mean", "running_var", "weight", "bias")
    )
    return batch_norm(at.on, at.tensor(args["input"]), weight, bias, mean, var, args["eps"])


def _layer_norm(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["input"])
    axes = range(len(x.axes) - len(args["normalized_shape"]), len(x.axes))
    made = at.on.normalised(x, list(axes), told(args["eps"]))
    return affine(at.on, made, at.numbers(args["weight"]), at.numbers(args["bias"]))


def _group_norm(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x, groups = at.tensor(args["input"]), args["num_groups"]
    sizes = [x.size(a) for a in range(len(x.axes))]
    split = reshaped(at.on.store, x, [sizes[0], groups, sizes[1] / groups, *sizes[2:]])
    made = at.on.normalised(split, list(range(2, len(split.axes))), told(args["eps"]))
    made = reshaped(at.on.store, made, sizes)
    shape = [-1, *[1] * (len(x.axes) - 2)]
    weight, bias = (at.numbers(args[k]) for k in ("weight", "bias"))
    return affine(at.on, made, *(None if v is None else v.reshape(shape) for v in (weight, bias)))


def _instance_norm(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    if not args["use_input_stats"]:
        return _batch_norm(at, node, args)
    x = at.tensor(args["input"])
    made = at.on.normalised(x, list(range(2, len(x.axes))), told(args["eps"]))
    shape = [-1, *[1] * (len(x.axes) - 2)]
    weight, bias = (at.numbers(args[k]) for k in ("weight", "bias"))
    return affine(at.on, made, *(None if v is None else v.reshape(shape) for v in (weight, bias)))


def _rms_norm(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["input"])
    axes = list(range(len(x.axes) - len(args["normalized_shape"]), len(x.axes)))
    eps = torch.finfo(at.source.dtype).eps if args["eps"] is None else args["eps"]
    mean = at.on.reduced(at.on.value(at.on.mul(x, x)), "mean", axes, True)
    made = at.on.div(x, at.on.apply("sqrt", at.on.scale(mean, 1.0, eps)))
    return affine(at.on, made, at.numbers(args["weight"]), None)


def _embedding(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    return lookup(at.on, at.numbers(args["weight"]), at.tensor(args["indices"]))


def _attention(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    if args["dropout_p"] or args["enable_gqa"] or args["is_causal"]:
        raise NotShown("attention with dropout, grouped queries or a causal mask")
    q, k, v = (at.tensor(args[n]) for n in ("query", "key", "value"))
    rank = len(q.axes)
    scale = args["scale"] or 1 / math.sqrt(int(q.size(rank - 1)))
    turned = permuted(k, [*range(rank - 2), rank - 1, rank - 2])
    scores = at.on.product(at.on.scale(q, scale), turned)
    if args["attn_mask"] is not None:
        mask = at.operand(args["attn_mask"])
        if isinstance(mask, Known) and mask.array.dtype == bool:
            low = Known(np.asarray(-math.inf))
            scores = at.on.where(mask, scores, low)
        else:
            scores = at.on.add(scores, mask)
    return at.on.product(at.on.softmax(at.on.value(scores), rank - 1), v)


def _window(args: dict[str, Any], axes: int) -> Window:
    kernel = per_axis(args["kernel_size"], axes)
    stride = per_axis(args["stride"], axes) if args["stride"] else kernel
    pad = per_axis(args["padding"], axes)
    dilation = per_axis(args.get("dilation", 1), axes)
    return Window(kernel, stride, pad, pad, dilation, bool(args["ceil_mode"]))


def _pool(kind: str) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        name = op_name(node)
        axes = int(name[name.index("pool") + 4])
        x = at.tensor(args["self"])
        if args.get("divisor_override"):
            raise NotShown("another divisor")
        window = settled(x, _window(args, axes))
        outside = bool(args.get("count_include_pad")) and window.padded
        if outside and window.up:
            raise NotShown("windows over the edge that count padding")
        return at.on.pool(x, kind, window, not outside)

    return rule


def _adaptive(kind: str) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        x, axes = at.tensor(args["self"]), int(op_name(node)[-2])
        wanted = per_axis(args["output_size"], axes)
        first = len(x.axes) - axes
        if all(w == 1 for w in wanted):
            what = "mean" if kind == "mean pool" else "largest"
            return at.on.reduced(x, what, list(range(first, len(x.axes))), True)
        sizes = [x.size(first + a) for a in range(axes)]
        if not all(s.is_Integer and s % w == 0 for s, w in zip(sizes, wanted, strict=True)):
            raise NotShown("bins of several sizes")
        step = tuple(int(s) // w for s, w in zip(sizes, wanted, strict=True))
        none = (0,) * axes
        return at.on.pool(x, kind, Window(step, step, none, none, (1,) * axes))

    return rule


def _resize(mode: str) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        x = at.tensor(args["input"])
        scales, wanted = args["scale_factors"], args["output_size"]
        axes = len(scales if scales is not None else wanted)
        sizes = [x.size(len(x.axes) - axes + a) for a in range(axes)]
        factors: Any = None
        if scales is not None:
            factors = tuple(told(s) for s in scales)
            made = [sympy.floor(s * sympy.nsimplify(f)) for s, f in zip(sizes, scales, strict=True)]
        else:
            made = [sympy.sympify(at.size(s)) for s in wanted]
        return at.on.resized(x, (mode, bool(args.get("align_corners")), factors), made)

    return rule


RULES: dict[str, Rule] = {
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    "_convolution_mode": _conv,
    **{f"conv_transpose{n}d": _conv_transpose for n in (1, 2, 3)},
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "addmm": _addmm,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "rms_norm": _rms_norm,
    "embedding": _embedding,
    **{f"max_pool{n}d": _pool("max pool") for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _pool("mean pool") for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive("mean pool") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive("max pool") for n in (1, 2, 3)},
    **{f"upsample_nearest{n}d": _resize("nearest") for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _resize("exact") for n in (1, 2, 3)},
    "upsample_linear1d": _resize("linear"),
    "upsample_bilinear2d": _resize("linear"),
    "upsample_trilinear3d": _resize("linear"),
    "upsample_bicubic2d": _resize("cubic"),
    "scaled_dot_product_attention": _attention,
}
