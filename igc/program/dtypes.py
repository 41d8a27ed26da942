"""Floating types of tensors and of arguments, replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def is_float(dtype: object) -> bool:
    """Whether `dtype` is a floating torch dtype."""
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point


@contextmanager
def without_autocast() -> Iterator[None]:
    """Within, an autocast that the caller is under has no effect: a program has its own types.

    One that a forward enters has. Serves as a decorator, too.
    """
    gpu = torch.autocast("cuda", enabled=False) if torch.cuda.is_available() else nullcontext()
    with torch.autocast("cpu", enabled=False), gpu:
        yield


def narrower(dtype: object, than: torch.dtype) -> bool:
    """Whether `dtype` is a floating type that rounds more than the floating type `than`.

    Such a part of a network has the precision that its author chose for it, by autocast or a cast:
    its roundings belong to what the network computes.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        return False
    return torch.finfo(dtype).eps > torch.finfo(than).eps


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
