"""ONNX for layers with weights: convolutions, linear maps, norms, attention, embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Unsupported
from igc.emit.onnx.lower.pointwise import Rule
from igc.program.schema import bind, operation


def _spread(value: Any, count: int) -> list[int]:
    """One number per spatial axis."""
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(v, int) for v in entries):
        raise Unsupported("an argument depends on the input size")
    return entries * count if len(entries) == 1 else entries


def _groups(args: dict[str, Any]) -> int:
    groups = args["groups"]
    if not isinstance(groups, int):
        raise Unsupported("as many groups as the input says")
    return groups


def _conv(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    weight, value = args["weight"], args["input"]
    axes = at.rank(weight) - 2
    if at.rank(value) != axes + 2:
        raise Unsupported("a convolution without a batch")
    attributes: dict[str, Any] = {}
    if isinstance(args["padding"], str):
        # torch pads "same" as ONNX's SAME_UPPER does only where the total is even
        kernel, dilation = at.fact(weight).dims[2:], _spread(args["dilation"], axes)
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        same = args["padding"] == "same"
        attributes["pads"] = (
            [t // 2 for t in total] + [t - t // 2 for t in total] if same else [0] * 2 * axes
        )
    else:
        attributes["pads"] = _spread(args["padding"], axes) * 2
    return at.op(
        "Conv",
        at(value),
        at(weight),
        at.optional(args["bias"]),
        strides=_spread(args["stride"], axes),
        dilations=_spread(args["dilation"], axes),
        group=_groups(args),
        kernel_shape=at.fact(weight).dims[2:],
        **attributes,
    )


def _conv_transpose(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    weight, value = args["weight"], args["input"]
    axes = at.rank(weight) - 2
    if at.rank(value) != axes + 2:
        raise Unsupported("a convolution without a batch")
    return at.op(
        "ConvTranspose",
        at(value),
        at(weight),
        at.optional(args["bias"]),
        strides=_spread(args["stride"], axes),
        pads=_spread(args["padding"], axes) * 2,
        output_padding=_spread(args["output_padding"], axes),
        dilations=_spread(args["dilation"], axes),
        group=_groups(args),
        kernel_shape=at.fact(weight).dims[2:],
    )


def _linear(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, weight, bias = args["input"], args["weight"], args["bias"]
    if at.rank(weight) != 2:
        raise Unsupported("linear with a weight that is no matrix")
    if at.rank(value) == 2:
        return at.op("Gemm", at(value), at(weight), at.optional(bias), transB=1)
    product = at.op("MatMul", at(value), _transposed(at, weight))
    return product if bias is None else at.op("Add", product, at(bias))


def _transposed(at: Lowering, weight: fx.Node) -> str:
    """The transposed weight, stored that way where nothing reads it as it is."""
    constant = at.tensor_of(weight)
    readers = {
        user
        for n in at.program.graph.nodes
        if n.op == "get_attr" and n.target == weight.target
        for user in n.users
    }
    if constant is None or not all(_multiplies(at, user, weight) for user in readers):
        return at.op("Transpose", at(weight), perm=(1, 0))
    return at.graph.tensor(constant.t(), f"{weight.target}_transposed")


def _multiplies(at: Lowering, user: fx.Node, weight: fx.Node) -> bool:
    """Whether `user` is a linear call on a tensor of more than two axes, with this weight."""
    if user.op != "call_function" or operation(user) != "aten.linear.default":
        return False
    args = bind(user)
    own = args["weight"].target == weight.target
    return own and args["bias"] is not weight and at.rank(args["input"]) != 2


def _matmul(at: Lowering, node: fx.Node) -> str:
    args = list(bind(node).values())
    return at.op("MatMul", at(args[0]), at(args[1]))


def _addmm(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    left, right = at(args["mat1"]), at(args["mat2"])
    if at.dtype(node).is_floating_point:
        scale = {"alpha": float(args["alpha"]), "beta": float(args["beta"])}
        return at.op("Gemm", left, right, at(args["self"]), **scale)
    raise Unsupported("addmm of integers")


def _baddbmm(at: Lowering, node: fx.Node) -> str:
    args, dtype = bind(node), at.dtype(node)
    product = at.op("MatMul", at(args["batch1"]), at(args["batch2"]))
    start = at(args["self"])
    if args["alpha"] != 1:
        product = at.op("Mul", product, at.scalar(args["alpha"], dtype))
    if args["beta"] != 1:
        start = at.op("Mul", start, at.scalar(args["beta"], dtype))
    return at.op("Add", start, product)


def _filled(at: Lowering, width: int, value: float, dtype: torch.dtype) -> str:
    return at.graph.tensor(torch.full((width,), value, dtype=dtype), "ones" if value else "zeros")


def _affine(at: Lowering, args: dict[str, Any], width: int) -> tuple[str, str]:
    """Scale and bias, ones and zeros where there are none."""
    dtype = at.dtype(args["input"])
    weight, bias = args["weight"], args["bias"]
    return (
        _filled(at, width, 1.0, dtype) if weight is None else at(weight),
        _filled(at, width, 0.0, dtype) if bias is None else at(bias),
    )


def _batch_norm(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    if args["training"] or args["running_mean"] is None or args["running_var"] is None:
        raise Unsupported("batch norm over the batch")
    scale, bias = _affine(at, args, at.fact(args["input"]).dims[1])
    mean, var = at(args["running_mean"]), at(args["running_var"])
    return at.op("BatchNormalization", at(args["input"]), scale, bias, mean, var,
                 epsilon=args["eps"])  # fmt: skip


def _instance_norm(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    if not args["use_input_stats"]:
        return _batch_norm_like(at, args)
    scale, bias = _affine(at, args, at.fact(args["input"]).dims[1])
    return at.op("InstanceNormalization", at(args["input"]), scale, bias, epsilon=args["eps"])


def _batch_norm_like(at: Lowering, args: dict[str, Any]) -> str:
    scale, bias = _affine(at, args, at.fact(args["input"]).dims[1])
    mean, var = at(args["running_mean"]), at(args["running_var"])
    return at.op("BatchNormalization", at(args["input"]), scale, bias, mean, var,
                 epsilon=args["eps"])  # fmt: skip


def _group_norm(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, groups = args["input"], args["num_groups"]
    dtype, rank, width = at.dtype(value), at.rank(value), at.fact(value).dims[1]
    flat = at.op("Reshape", at(value), at.graph.integers([0, groups, -1], "shape"))
    ones, zeros = _filled(at, groups, 1.0, dtype), _filled(at, groups, 0.0, dtype)
    normal = at.op("InstanceNormalization", flat, ones, zeros, epsilon=args["eps"])
    moving = [a for a in range(2, rank) if at.static(value, a) is None]
    if len(moving) <= 1:
        sizes = [-1 if a in moving else at.fact(value).dims[a] for a in range(2, rank)]
        shape = at.graph.integers([0, width, *sizes], "shape")
    else:
        shape = at.op("Shape", at(value))
    result = at.op("Reshape", normal, shape)
    for kind, operand in (("Mul", args["weight"]), ("Add", args["bias"])):
        if operand is not None:
            result = at.op(kind, result, _column(at, operand, rank - 2))
    return result


def _column(at: Lowering, vector: fx.Node, behind: int) -> str:
    """A per-channel vector with one axis of size 1 for each axis behind the channels."""
    if not behind:
        return at(vector)
    constant = at.tensor_of(vector)
    shape = [at.fact(vector).dims[0]] + [1] * behind
    if constant is not None:
        return at.graph.tensor(constant.reshape(shape), f"{vector.target}_column")
    return at.op("Reshape", at(vector), at.graph.integers(shape))


def _layer_norm(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, shape = args["input"], _numbers(args["normalized_shape"])
    weight, bias = args["weight"], args["bias"]
    scale = (
        at.graph.tensor(torch.ones(shape, dtype=at.dtype(value)), "ones")
        if weight is None
        else at(weight)
    )
    return at.op("LayerNormalization", at(value), scale, at.optional(bias), axis=-len(shape),
                 epsilon=args["eps"])  # fmt: skip


def _numbers(values: Sequence[Any]) -> list[int]:
    if not all(isinstance(v, int) for v in values):
        raise Unsupported("a shape depends on the input size")
    return list(values)


def _rms_norm(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    dtype, shape = at.dtype(args["input"]), _numbers(args["normalized_shape"])
    value = at(args["input"])
    eps = torch.finfo(dtype).eps if args["eps"] is None else args["eps"]
    axes = at.graph.integers(list(range(-len(shape), 0)), "axes")
    mean = at.op("ReduceMean", at.op("Mul", value, value), axes, keepdims=1)
    root = at.op("Sqrt", at.op("Add", mean, at.scalar(eps, dtype)))
    normal = at.op("Div", value, root)
    return normal if args["weight"] is None else at.op("Mul", normal, at(args["weight"]))


def _attention(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    query, key, value, mask = (args[k] for k in ("query", "key", "value", "attn_mask"))
    if args["dropout_p"] or args["enable_gqa"]:
        raise Unsupported("attention with dropout or grouped queries")
    dtype, rank = at.dtype(query), at.rank(query)
    if at.rank(key) != rank:
        raise Unsupported("attention over tensors of different rank")
    width = at.static(query, rank - 1)
    scale = args["scale"]
    if scale is None:
        if width is None:
            raise Unsupported("attention of a width that depends on the input size")
        scale = 1 / math.sqrt(width)
    order = [*range(rank - 2), rank - 1, rank - 2]
    scaled = at.op("Mul", at(query), at.scalar(scale, dtype))
    scores = at.op("MatMul", scaled, at.op("Transpose", at(key), perm=order))
    low = at.scalar(-math.inf, dtype)
    if args["is_causal"]:
        sizes = at.vector([at.dim(query, rank - 2), at.dim(key, rank - 2)])
        square = at.op("Expand", at.scalar(1.0, dtype), sizes)
        seen = at.op("Cast", at.op("Trilu", square, upper=0), to=torch.bool)
        scores = at.op("Where", seen, scores, low)
    if mask is not None and at.dtype(mask) == torch.bool:
        scores = at.op("Where", at(mask), scores, low)
    elif mask is not None:
        scores = at.op("Add", scores, at(mask))
    return at.op("MatMul", at.op("Softmax", scores, axis=-1), at(value))


def _embedding(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    return at.op("Gather", at(args["weight"]), at(args["indices"]), axis=0)


def _outer(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    left = at.op("Unsqueeze", at(args["self"]), at.graph.integers([1], "axes"))
    return at.op("Mul", left, at(args["vec2"]))


RULES: dict[str, Rule] = {
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    "_convolution_mode": _conv,
    **{f"conv_transpose{n}d": _conv_transpose for n in (1, 2, 3)},
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _matmul),
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attention,
    "embedding": _embedding,
    "outer": _outer,
}
