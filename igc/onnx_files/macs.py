"""MACs of ONNX ops from shapes: the same conventions as `igc.ops.macs` has for ATen ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

Shapes = Sequence[Any]
Attributes = Mapping[str, Any]
Rule = Callable[[Shapes, Shapes, Attributes], int]


def _conv(inputs: Shapes, outputs: Shapes, _: Attributes) -> int:
    """Every kernel element meets every output position."""
    weight, out = inputs[1], outputs[0]
    return int(prod(weight) * out[0] * prod(out[2:]))


def _quantised_conv(inputs: Shapes, outputs: Shapes, attributes: Attributes) -> int:
    """`QLinearConv(x, scale, zero, w, ...)`."""
    return _conv([inputs[0], inputs[3]], outputs, attributes)


def _transposed(inputs: Shapes, _: Shapes, __: Attributes) -> int:
    """Every kernel element meets every input position."""
    x, weight = inputs[0], inputs[1]
    return int(prod(weight) * x[0] * prod(x[2:]))


def _gemm(inputs: Shapes, outputs: Shapes, attributes: Attributes) -> int:
    inner = inputs[0][0 if attributes.get("transA", 0) else 1]
    return prod(outputs[0]) * int(inner)


def _matmul(inputs: Shapes, outputs: Shapes, _: Attributes) -> int:
    return prod(outputs[0]) * int(inputs[0][-1])


def _quantised_matmul(inputs: Shapes, outputs: Shapes, attributes: Attributes) -> int:
    """`QLinearMatMul(a, scale, zero, b, ...)`."""
    return _matmul(inputs, outputs, attributes)


def _attention(inputs: Shapes, _: Shapes, attributes: Attributes) -> int:
    """Q K^T and A V, in full also under a causal mask; heads apart (4-d) or in the last axis."""
    query, key, value = inputs[:3]
    if len(query) == 3:
        heads, shared = attributes["q_num_heads"], attributes["kv_num_heads"]
        rows, width = query[0] * heads * query[1], query[2] // heads + value[2] // shared
        return int(rows * key[1] * width)
    return int(prod(query[:3]) * key[2] * (query[3] + value[3]))


def _einsum(inputs: Shapes, _: Shapes, attributes: Attributes) -> int:
    """Contracted two at a time from left to right, as `igc.ops.macs` counts it."""
    from torch import empty, ops

    from igc.ops.macs import op_macs

    equation = attributes["equation"].decode()
    tensors = [empty(shape, device="meta") for shape in inputs]
    macs = op_macs(ops.aten.einsum.default, [equation, tensors], tensors[0])
    assert macs is not None
    return macs


def _recurrent(inputs: Shapes, _: Shapes, __: Attributes) -> int:
    """`LSTM`, `GRU`, `RNN(x, w, r)`: both matrices at every step, in both directions."""
    x = inputs[0]
    return int(x[0] * x[1] * (prod(inputs[1]) + prod(inputs[2])))


RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _quantised_conv,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _quantised_matmul,
    "Attention": _attention,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
UNCOUNTED = frozenset({"If", "Loop", "Scan", "DFT", "STFT", "Det", "DeformConv", "SequenceMap"})
FREE_DOMAINS = ("", "ai.onnx")
