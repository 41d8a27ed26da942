"""ONNX for normalisation: batch, instance, group, layer, RMS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Unsupported
from igc.program.schema import bind


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
            result = at.op(kind, result, at.column(operand, rank - 2))
    return result


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


def _weight_norm(at: Lowering, node: fx.Node) -> Lowered:
    """Directions by their length, times the length that each is to have."""
    args = bind(node)
    v, kept = args["v"], at.axis(args["v"], args["dim"])
    others = at.graph.integers([a for a in range(at.rank(v)) if a != kept], "axes")
    length = at.op("ReduceL2", at(v), others, keepdims=1)
    return at.op("Mul", at(v), at.op("Div", at(args["g"]), length)), length


RULES: dict[str, Rule] = {
    "_weight_norm_interface": _weight_norm,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}
