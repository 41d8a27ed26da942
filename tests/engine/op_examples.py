"""One or more examples for every op that has a rule: operands and arguments.

`T(2, 6, 5)` is an input tensor of that shape, `C(4, 6)` a constant one. A new op rule needs a line
here; a test compares this list with the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from igc.ops.pointwise import OTHER, UNARY
from igc.ops.pool import SPATIAL_RANK


@dataclass(frozen=True)
class T:
    """An input tensor; `kind` is "float", "positive", "above" (1), "bool" or "unit" (0 to 1)."""

    shape: tuple[int, ...]
    kind: str = "float"


@dataclass(frozen=True)
class C:
    """A constant tensor, or the given numbers."""

    shape: tuple[int, ...]
    kind: str = "float"
    values: tuple[float, ...] | None = None


Example = tuple[Any, ...]

IMAGE = T((2, 6, 4, 4))
TOKENS = T((2, 5, 6))
KWARGS: dict[str, dict[str, Any]] = {
    "aten.div.Tensor_mode": {"rounding_mode": "floor"},
    "aten.div.Scalar_mode": {"rounding_mode": "trunc"},
    "aten._to_copy.default": {"dtype": torch.float32},
    "aten.round.decimals": {"decimals": 1},
    "aten.var.correction": {"correction": 1},
    "aten.std.correction": {"correction": 1},
}


def _unary(name: str) -> Example:
    if name == "acosh":
        return (T((2, 6, 3), "above"),)
    if name in {"sqrt", "rsqrt", "log", "log2", "log10", "log1p", "reciprocal"}:
        return (T((2, 6, 3), "positive"),)
    if name in {"asin", "acos", "atanh", "logit"}:
        return (T((2, 6, 3), "unit"),)
    if name in {"logical_not", "bitwise_not"}:
        return (T((2, 6, 3), "bool"),)
    if name == "threshold":
        return (T((2, 6, 3)), 0.1, 0.5)
    if name in {"clamp", "clamp_min", "clamp_max"}:
        return (T((2, 6, 3)), -0.5) if name != "clamp" else (T((2, 6, 3)), -0.5, 0.5)
    return (T((2, 6, 3)),)


def _other(name: str) -> list[Example]:
    base, overload = name.split(".")
    a, b = T((2, 6, 3), "positive"), T((1, 6, 1), "positive")
    if base.startswith(("logical", "bitwise")):
        return [(T((2, 6, 3), "bool"), T((6, 1), "bool"))]
    if base == "round":
        return [(a,)]
    if base == "addcdiv":
        return [(a, b, T((2, 6, 3), "positive"))]
    if name == "clamp.Tensor":
        return [(T((2, 6, 3)), C((6, 1), values=(-0.5,)), C((6, 1), values=(0.5,)))]
    if name == "pow.Scalar":
        return [(2.0, a)]
    if overload in {"Scalar", "Tensor_Scalar", "Scalar_mode"}:
        return [(a, 1.5)]
    return [(a, b), (T((2, 6, 3), "positive"), C((3,), "positive"))]


def _spatial(name: str, rank: int) -> list[Example]:
    x = T((2, 6, *(4,) * rank))
    if "pool" in name:
        size = [3] * rank if "adaptive" in name else [2] * rank
        return [(x, size)]
    if "pad" in name:
        return [(x, [1, 2] * rank)]
    sizes = [6] * rank
    corners = [] if "nearest" in name else [False]
    if name.endswith(".vec"):
        return [(x, sizes, *corners, None), (x, None, *corners, [1.5] * rank)]
    return [(x, sizes, *corners)]


EXAMPLES: dict[str, list[Example]] = {
    **{f"aten.{name}.default": [_unary(name)] for name in UNARY},
    **{f"aten.{name}": _other(name) for name in OTHER},
    **{f"aten.{name}": _spatial(name, rank) for name, rank in SPATIAL_RANK.items()},
    "aten.prelu.default": [(IMAGE, C((6,))), (IMAGE, C((1,)))],
    "aten.add.Tensor": [(IMAGE, IMAGE), (IMAGE, C((6, 1, 1))), (IMAGE, T((2, 6, 1, 1)))],
    "aten.add.Scalar": [(IMAGE, 1.5)],
    "aten.sub.Tensor": [(IMAGE, IMAGE), (TOKENS, C((5, 6)))],
    "aten.sub.Scalar": [(IMAGE, 1.5)],
    "aten.rsub.Tensor": [(IMAGE, IMAGE)],
    "aten.rsub.Scalar": [(IMAGE, 1.5)],
    "aten.neg.default": [(IMAGE,)],
    "aten.mul.Tensor": [(IMAGE, T((2, 6, 1, 1))), (IMAGE, C((6, 1, 1), "mask")), (TOKENS, C((6,)))],
    "aten.mul.Scalar": [(IMAGE, 0.5)],
    "aten.div.Tensor": [(IMAGE, C((6, 1, 1), "positive")), (IMAGE, T((2, 6, 1, 1), "positive"))],
    "aten.div.Scalar": [(IMAGE, 3.0)],
    "aten.where.self": [
        (C((6, 1, 1), "bool"), IMAGE, IMAGE), (T((2, 6, 4, 4), "bool"), IMAGE, IMAGE),
    ],
    "aten.where.ScalarSelf": [(C((6, 1, 1), "bool"), 0.5, IMAGE)],
    "aten.where.ScalarOther": [(C((6, 1, 1), "bool"), IMAGE, 0.5)],
    "aten.where.Scalar": [(T((2, 6), "bool"), 1.0, 2.0)],
    "aten.lerp.Tensor": [(IMAGE, IMAGE, C((6, 1, 1), "mask")), (IMAGE, IMAGE, T((2, 6, 1, 1)))],
    "aten.addcmul.default": [(IMAGE, C((6, 1, 1), "mask"), IMAGE), (IMAGE, IMAGE, IMAGE)],
    "aten.lerp.Scalar": [(IMAGE, IMAGE, 0.25)],
    "aten.masked_fill.Scalar": [(IMAGE, C((6, 1, 1), "bool"), 0.0), (TOKENS, C((6,), "bool"), 2.0)],
    "aten.masked_fill.Tensor": [(IMAGE, C((6, 1, 1), "bool"), C((), values=(1.5,)))],
    "aten.conv1d.default": [(T((2, 6, 8)), C((4, 6, 3)), C((4,)), [2], [1])],
    "aten.conv1d.padding": [(T((2, 6, 8)), C((4, 6, 3)), C((4,)), [1], "same")],
    "aten.conv2d.default": [
        (IMAGE, C((4, 6, 3, 3)), C((4,)), [1, 1], [1, 1], [2, 2]),
        (IMAGE, C((8, 3, 3, 3)), C((8,)), [2, 2], [1, 1], [1, 1], 2),
        (IMAGE, C((6, 1, 3, 3)), None, [1, 1], [1, 1], [1, 1], 6),
        (IMAGE, C((12, 1, 3, 3)), C((12,)), [1, 1], [1, 1], [1, 1], 6),
    ],
    "aten.conv2d.padding": [(IMAGE, C((4, 6, 3, 3)), C((4,)), [1, 1], "same")],
    "aten.conv3d.default": [(T((2, 4, 3, 3, 3)), C((5, 4, 2, 2, 2)), C((5,)))],
    "aten.conv3d.padding": [(T((2, 4, 3, 3, 3)), C((5, 4, 3, 3, 3)), C((5,)), [1, 1, 1], "same")],
    "aten.conv_transpose1d.default": [(T((2, 6, 5)), C((6, 4, 3)), C((4,)), [2])],
    "aten.conv_transpose2d.input": [
        (IMAGE, C((6, 4, 2, 2)), C((4,)), [2, 2]),
        (IMAGE, C((6, 4, 3, 3)), C((8,)), [1, 1], [1, 1], [0, 0], 2),
        (IMAGE, C((6, 1, 3, 3)), None, [1, 1], [1, 1], [0, 0], 6),
    ],
    "aten.conv_transpose3d.input": [(T((2, 4, 3, 3, 3)), C((4, 3, 2, 2, 2)), C((3,)))],
    "aten.linear.default": [(TOKENS, C((4, 6)), C((4,))), (T((2, 6)), C((4, 6)))],
    "aten.mm.default": [(T((5, 6)), C((6, 4)))],
    "aten.bmm.default": [(T((2, 5, 6)), T((2, 6, 4)))],
    "aten.matmul.default": [(T((2, 3, 5, 6)), T((2, 3, 6, 4))), (TOKENS, C((6, 4)))],
    "aten.addmm.default": [(C((4,)), T((5, 6)), C((6, 4)))],
    "aten.batch_norm.default": [
        (IMAGE, C((6,)), C((6,)), C((6,)), C((6,), "positive"), False, 0.1, 1e-5, False),
        (IMAGE, None, None, C((6,)), C((6,), "positive"), False, 0.1, 1e-5, False),
    ],
    "aten.layer_norm.default": [(TOKENS, [6], C((6,)), C((6,)), 1e-5)],
    "aten.rms_norm.default": [(TOKENS, [6], C((6,)), 1e-5)],
    "aten.group_norm.default": [(IMAGE, 3, C((6,)), C((6,)), 1e-5)],
    "aten.instance_norm.default": [(IMAGE, C((6,)), C((6,)), None, None, True, 0.1, 1e-5, False)],
    "aten.pad.default": [
        (IMAGE, [1, 1, 2, 0]), (IMAGE, [1, 1, 1, 1], "reflect"), (IMAGE, [0, 0, 0, 0, 1, 2]),
        (IMAGE, [1, 1, 1, 1], "circular"),
    ],
    "aten.constant_pad_nd.default": [(IMAGE, [0, 0, 0, 0, 2, 1], 0.5), (IMAGE, [1, 0, 1, 0])],
    "aten.mean.dim": [(IMAGE, [2, 3]), (IMAGE, [1], True)],
    "aten.sum.dim_IntList": [(IMAGE, [2, 3], True), (TOKENS, [1])],
    "aten.amax.default": [(IMAGE, [2, 3])],
    "aten.amin.default": [(IMAGE, [2], True)],
    "aten.var.correction": [(IMAGE, [2, 3])],
    "aten.std.correction": [(IMAGE, [2, 3])],
    "aten.var.dim": [(IMAGE, [2, 3])],
    "aten.std.dim": [(IMAGE, [3], True, True)],
    "aten.linalg_vector_norm.default": [(IMAGE, 2, [2, 3]), (IMAGE, 2, [1], True)],
    "aten.logsumexp.default": [(IMAGE, [2, 3])],
    "aten.prod.dim_int": [(IMAGE, 2)],
    "aten.argmax.default": [(IMAGE, 2)],
    "aten.argmin.default": [(IMAGE, 3, True)],
    "aten.softmax.int": [(TOKENS, -1), (TOKENS, 1)],
    "aten._softmax.default": [(TOKENS, -1, False)],
    "aten.log_softmax.int": [(TOKENS, 1)],
    "aten._log_softmax.default": [(TOKENS, 1, False)],
    "aten.cumsum.default": [(TOKENS, 1), (TOKENS, 2)],
    "aten.cumprod.default": [(TOKENS, 2)],
    "aten.cat.default": [([IMAGE, T((2, 3, 4, 4))], 1), ([TOKENS, TOKENS], 1)],
    "aten.slice.Tensor": [(IMAGE, 1, 1, 5, 2), (TOKENS, 1, 0, 3)],
    "aten.narrow.default": [(IMAGE, 1, 2, 3)],
    "aten.select.int": [(IMAGE, 1, -2), (TOKENS, 1, 0)],
    "aten.index_select.default": [(IMAGE, 1, C((4,), "index", (5, 0, 3, 3)))],
    "aten.index.Tensor": [(IMAGE, [None, C((3,), "index", (4, 1, 2))])],
    "aten.flip.default": [(IMAGE, [1])],
    "aten.roll.default": [(IMAGE, [2], [1])],
    "aten.channel_shuffle.default": [(IMAGE, 3)],
    "aten.repeat.default": [(IMAGE, [1, 2, 1, 1])],
    "aten.repeat_interleave.self_int": [(IMAGE, 2, 1)],
    "aten.permute.default": [(IMAGE, [0, 2, 3, 1])],
    "aten.unsqueeze.default": [(TOKENS, 1), (TOKENS, -1)],
    "aten.squeeze.dim": [(T((2, 6, 1, 1)), -1)],
    "aten.squeeze.dims": [(T((2, 6, 1, 1)), [2, 3])],
    "aten.expand.default": [(T((2, 6, 1, 1)), [2, 6, 4, 4])],
    "aten.reshape.default": [
        (IMAGE, [2, 96]), (TOKENS, [2, 5, 2, 3]), (T((2, 5, 2, 3)), [2, 5, 6]),
        (IMAGE, [2, 3, 2, 16]),
    ],
    "aten.pixel_shuffle.default": [(T((2, 8, 3, 3)), 2)],
    "aten.pixel_unshuffle.default": [(IMAGE, 2)],
    "aten.scaled_dot_product_attention.default": [
        (T((2, 3, 5, 4)), T((2, 3, 7, 4)), T((2, 3, 7, 6))),
        (T((2, 3, 5, 4)), T((2, 3, 5, 4)), T((2, 3, 5, 6)), None, 0.0, True),
        (T((2, 3, 5, 4)), T((2, 3, 7, 4)), T((2, 3, 7, 6)), C((5, 7))),
    ],
}  # fmt: skip
