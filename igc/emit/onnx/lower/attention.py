"""ONNX for scaled dot-product attention."""

from __future__ import annotations

import math

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
from igc.program.schema import bind


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


RULES: dict[str, Rule] = {
    "scaled_dot_product_attention": _attention,
}
