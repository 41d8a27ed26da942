"""ONNX operators of layers: contractions, norms, pools, resizing, whole axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy

from igc.audit.translation.file import (
    Call,
    Entry,
    File,
    Rule,
    Sizes,
    listed,
    numbers,
    told,
)
from igc.audit.translation.idioms import (
    affine,
    batch_norm,
    settled,
)
from igc.audit.translation.layers import Window
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import (
    Known,
    permuted,
)


def _require_lengths(call: Call, axes: int) -> None:
    """One number for each spatial axis, two for the pads."""
    for name, count in (("strides", 1), ("dilations", 1), ("pads", 2), ("output_padding", 1)):
        if len(call.get(name, [0] * count * axes)) != count * axes:
            raise NotShown(f"the numbers '{name}'")


def _conv(at: File, call: Call) -> Any:
    weight, bias = numbers(call.inputs[1]), numbers(call.operand(2))
    axes = weight.ndim - 2
    if list(call.get("kernel_shape", weight.shape[2:])) != list(weight.shape[2:]):
        raise NotShown("a kernel of another shape than it says")
    ones = [1] * axes
    pads = call.get("pads", [0] * 2 * axes)
    _require_lengths(call, axes)
    window = Window(
        tuple(weight.shape[2:]), tuple(call.get("strides", ones)), tuple(pads[:axes]),
        tuple(pads[axes:]), tuple(call.get("dilations", ones)),
    )  # fmt: skip
    more = None
    if call.node.op_type == "ConvTranspose":
        more = tuple(call.get("output_padding", [0] * axes))
    return at.on.convolution(at.value(call.inputs[0]), weight, bias, window, call.get("group", 1),
                             more)  # fmt: skip


def _gemm(at: File, call: Call) -> Any:
    a = at.value(call.inputs[0])
    if call.get("transA", 0):
        raise NotShown("a transposed operand")
    alpha, beta = float(call.get("alpha", 1.0)), float(call.get("beta", 1.0))
    weight, bias = call.inputs[1], call.operand(2)
    if isinstance(weight, Known) and (bias is None or isinstance(bias, Known)) and alpha == 1:
        rows = weight.numbers if call.get("transB", 0) else weight.numbers.T
        if bias is None or bias.array.ndim == 1:
            shift = None if bias is None else np.broadcast_to(bias.numbers * beta, len(rows))
            return at.on.linear(a, rows, shift)
    other = at.on.value(weight)
    other = permuted(other, [1, 0]) if call.get("transB", 0) else other
    product = at.on.product(a, other)
    return at.on.scale(product, alpha) if bias is None else at.on.add(product, bias,
                                                                      by=[alpha, beta])  # fmt: skip


def _matmul(at: File, call: Call) -> Any:
    return at.on.product(call.inputs[0], call.inputs[1])


def _batch_norm(at: File, call: Call) -> Any:
    if call.get("training_mode", 0) or len(call.node.output) > 1:
        raise NotShown("statistics of the batch")
    scale, bias, mean, var = (numbers(v) for v in call.inputs[1:])
    return batch_norm(at.on, at.value(call.inputs[0]), scale, bias, mean, var,
                      _near(call.get("epsilon", 1e-5)))  # fmt: skip


def _near(value: float) -> float:
    """The decimal number that a float32 attribute was written for."""
    return float(np.format_float_positional(np.float32(value), unique=True))


def _layer_norm(at: File, call: Call) -> Any:
    x = at.value(call.inputs[0])
    rank = len(x.axes)
    axes = list(range(call.get("axis", -1) % rank, rank))
    made = at.on.normalised(x, axes, told(call.get("epsilon", 1e-5)))
    return affine(at.on, made, numbers(call.inputs[1]), numbers(call.operand(2)))


def _instance_norm(at: File, call: Call) -> Any:
    x = at.value(call.inputs[0])
    made = at.on.normalised(x, list(range(2, len(x.axes))), told(call.get("epsilon", 1e-5)))
    shape = [-1, *[1] * (len(x.axes) - 2)]
    return affine(at.on, made, *(numbers(v).reshape(shape) for v in call.inputs[1:]))


def _pool(kind: str) -> Rule:
    def rule(at: File, call: Call) -> Any:
        if len(call.node.output) > 1:
            raise NotShown("places of the largest")
        x = at.value(call.inputs[0])
        kernel = tuple(call.get("kernel_shape", ()))
        axes = len(kernel)
        _require_lengths(call, axes)
        pads, ones = call.get("pads", [0] * 2 * axes), [1] * axes
        window = Window(kernel, tuple(call.get("strides", ones)), tuple(pads[:axes]),
                        tuple(pads[axes:]), tuple(call.get("dilations", ones)),
                        bool(call.get("ceil_mode", 0)))  # fmt: skip
        window = settled(x, window)
        outside = bool(call.get("count_include_pad", 0)) and window.padded
        return at.on.pool(x, kind, window, not outside)

    return rule


def _global(kind: str) -> Rule:
    def rule(at: File, call: Call) -> Any:
        x = at.value(call.inputs[0])
        return at.on.reduced(x, kind, list(range(2, len(x.axes))), True)

    return rule


def _resize(at: File, call: Call) -> Any:
    x = at.value(call.inputs[0])
    if call.operand(1) is not None:
        raise NotShown("a region of interest")
    mode, place = call.get("mode", "nearest"), call.get("coordinate_transformation_mode",
                                                        "half_pixel")  # fmt: skip
    rank, scales = len(x.axes), numbers(call.operand(2))
    name, aligned = mode, place == "align_corners"
    if mode == "nearest":
        how = (place, call.get("nearest_mode", "round_prefer_floor"))
        name = {("asymmetric", "floor"): "nearest",
                ("half_pixel", "round_prefer_ceil"): "exact"}.get(how)  # fmt: skip
    elif place not in ("half_pixel", "align_corners"):
        name = None
    if mode == "cubic" and not math.isclose(call.get("cubic_coeff_a", -0.75), -0.75):
        name = None
    if name is None or call.get("antialias", 0):
        raise NotShown(f"resizing by '{mode}', '{place}'")
    if scales is not None:
        if list(scales[:2]) != [1.0, 1.0]:
            raise NotShown("resizing the batch or the channels")
        factors = tuple(float(s) for s in scales[2:])
        made = [sympy.floor(x.size(a + 2) * sympy.nsimplify(f)) for a, f in enumerate(factors)]
        return at.on.resized(x, (name, aligned, factors), made)
    sizes = listed(call.operand(3))
    for a in range(2):
        if sympy.sympify(sizes[a]) != x.size(a):
            raise NotShown("resizing the batch or the channels")
    return at.on.resized(x, (name, aligned, None), [sympy.sympify(s) for s in sizes[2:rank]])


REDUCTIONS = {
    "ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "largest", "ReduceMin": "smallest",
    "ReduceProd": "prod", "ReduceLogSumExp": "logsumexp", "ReduceL1": "l1", "ReduceL2": "l2",
}  # fmt: skip


def _reduce(at: File, call: Call) -> Any:
    x = call.inputs[0]
    keep = bool(call.get("keepdims", 1))
    if isinstance(x, Sizes):
        if call.node.op_type != "ReduceProd" or keep:
            raise NotShown("sizes that are computed with")
        return Sizes(np.array(sympy.prod(list(x.array)), dtype=object))
    x = at.value(x)
    rank = len(x.axes)
    axes = list(range(rank)) if call.operand(1) is None else listed(call.operand(1))
    return at.on.reduced(
        x, REDUCTIONS[call.node.op_type], sorted(int(a) % rank for a in axes), keep
    )


def _softmax(kind: str) -> Rule:
    def rule(at: File, call: Call) -> Any:
        x = at.value(call.inputs[0])
        return at.on.softmax(x, call.get("axis", -1) % len(x.axes), kind)

    return rule


def _arg(kind: str) -> Rule:
    def rule(at: File, call: Call) -> Any:
        x = at.value(call.inputs[0])
        axis = call.get("axis", 0) % len(x.axes)
        return at.on.opened((kind,), x, axis, True, bool(call.get("keepdims", 1)))

    return rule


CONV = ("strides", "pads", "dilations", "group", "kernel_shape")
POOL = ("strides", "pads", "kernel_shape", "ceil_mode", "count_include_pad", "dilations")
RULES: dict[str, Entry] = {
    "Conv": (_conv, CONV),
    "ConvTranspose": (_conv, (*CONV, "output_padding")),
    "Gemm": (_gemm, ("transA", "transB", "alpha", "beta")),
    "MatMul": (_matmul, ()),
    "BatchNormalization": (_batch_norm, ("epsilon", "momentum", "training_mode")),
    "LayerNormalization": (_layer_norm, ("axis", "epsilon")),
    "InstanceNormalization": (_instance_norm, ("epsilon",)),
    "MaxPool": (_pool("max pool"), POOL),
    "AveragePool": (_pool("mean pool"), POOL),
    "GlobalAveragePool": (_global("mean"), ()),
    "GlobalMaxPool": (_global("largest"), ()),
    "Resize": (
        _resize,
        (
            "mode",
            "coordinate_transformation_mode",
            "nearest_mode",
            "cubic_coeff_a",
            "antialias",
            "exclude_outside",
        ),
    ),
    **dict.fromkeys(REDUCTIONS, (_reduce, ("keepdims",))),
    "Softmax": (_softmax("softmax"), ("axis",)),
    "LogSoftmax": (_softmax("log softmax"), ("axis",)),
    "ArgMax": (_arg("argmax"), ("axis", "keepdims")),
    "ArgMin": (_arg("argmin"), ("axis", "keepdims")),
}
