"""Calls on meta tensors, remembered: torch works shapes out in Python, op by op, over and over.

Compiling asks for the shapes of the same program after every pass and at two settings of its
dynamic sizes, and a network repeats its layers. What a call returns on meta tensors depends on
nothing but the operands' shapes, strides and dtypes and on the other arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

LIMIT = 50_000  # entries, of some hundred bytes each
Known = tuple[torch.Size, tuple[int, ...], torch.dtype]
_seen: dict[Hashable, Known | list[Known]] = {}


def remembered(key: Any, run: Callable[[], Any]) -> Any:
    """What `run`, a call on meta tensors that `key` describes, returns; `key` may hold tensors.

    Only results that are a tensor, or a tuple of tensors, are kept, and only for keys of plain
    values.
    """
    try:
        plain = _plain(key)
        known = _seen.get(plain)
    except TypeError:  # an argument that cannot be hashed
        return run()
    if isinstance(known, list):
        return tuple(map(_empty, known))
    if known is not None:
        return _empty(known)
    value = run()
    several = type(value) is tuple
    if all(isinstance(v, Tensor) and v.is_meta for v in (value if several else (value,))):
        if len(_seen) >= LIMIT:
            _seen.clear()
        _seen[plain] = [_known(v) for v in value] if several else _known(value)
    return value


def _known(value: Tensor) -> Known:
    return value.shape, value.stride(), value.dtype


def _empty(known: Known) -> Tensor:
    shape, stride, dtype = known
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _plain(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return (Tensor, value.shape, value.stride(), value.dtype, value.device.type)
    if isinstance(value, (tuple, list)):
        return (type(value), *map(_plain, value))
    if isinstance(value, dict):
        return tuple((k, _plain(v)) for k, v in value.items())
    return (type(value), value)  # True, 1 and 1.0 are equal, yet not the same argument
