"""Floating types of tensors and of arguments, replaced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def is_float(dtype: object) -> bool:
    """Whether `dtype` is a floating torch dtype."""
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point


def cast_to(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor in `dtype` where it is a floating one; others stay."""
    if dtype is None or not tensor.dtype.is_floating_point or tensor.dtype == dtype:
        return tensor
    return tensor.to(dtype)


def cast_dtype(dtype: torch.dtype, to: torch.dtype | None) -> torch.dtype:
    """`to` where `dtype` is floating and `to` is given, `dtype` otherwise."""
    return to if to is not None and dtype.is_floating_point else dtype


def retyped(args: Any, dtype: torch.dtype | None, device: torch.device | str | None = None) -> Any:
    """Arguments with every floating dtype in them replaced, and every device where one is given."""

    def one(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return cast_dtype(value, dtype)
        if isinstance(value, torch.device) and device is not None:
            return torch.device(device)
        return value

    return pytree.tree_map(one, args)
