"""The element types of ONNX tensors, by torch's types and back."""

from __future__ import annotations

import torch
from onnx import TensorProto

NUMBERS: dict[torch.dtype, int] = {
    torch.float32: TensorProto.FLOAT, torch.float64: TensorProto.DOUBLE,
    torch.float16: TensorProto.FLOAT16, torch.bfloat16: TensorProto.BFLOAT16,
    torch.int64: TensorProto.INT64, torch.int32: TensorProto.INT32,
    torch.int16: TensorProto.INT16, torch.int8: TensorProto.INT8,
    torch.uint8: TensorProto.UINT8, torch.bool: TensorProto.BOOL,
}  # fmt: skip
TYPES: dict[int, torch.dtype] = {number: dtype for dtype, number in NUMBERS.items()}
#: The types of weights.
FLOATING = frozenset(number for dtype, number in NUMBERS.items() if dtype.is_floating_point)
