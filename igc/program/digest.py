"""Hashes of tensors, and what a static network remembers of the network it was compiled from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from igc.program.program import Program

CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Source:
    """What was compiled: its floating type, and hashes as a manifest lists them.

    `hashes` holds the SHA-256 of the checkpoint file under "" (empty where a module was compiled)
    and the `digest` of each tensor that the network reads. `options` are those of the compilation
    that a further one needs to come to the same; the outputs say which tasks it was for.
    """

    dtype: torch.dtype
    hashes: Mapping[str, str]
    options: Mapping[str, Any]


def source_of(
    program: Program, file: str = "", options: Mapping[str, Any] = MappingProxyType({})
) -> Source:
    """The source that `program` is, read from a file with this SHA-256."""
    tensors = {name: digest(value) for name, value in program.constants.items()}
    return Source(program.dtype, {"": file, **tensors}, options)


def digest(value: Tensor) -> str:
    """A hash of a tensor: dtype, shape and bytes."""
    found = hashlib.sha256(f"{value.dtype} {tuple(value.shape)} ".encode())
    found.update(raw_bytes(value))
    return found.hexdigest()


def raw_bytes(value: Tensor) -> memoryview:
    """The bytes of a tensor in order, of any dtype (bfloat16 too); no copy where it has that order.

    A tensor of one element may be contiguous with any stride, 0 for one, which views refuse.
    """
    flat = value.detach().cpu().contiguous()
    flat = flat.as_strided((flat.numel(),), (1,))
    return memoryview(flat.view(torch.uint8).numpy().data) if flat.numel() else memoryview(b"")


def storage_key(tensor: Tensor, name: str) -> tuple[Any, ...]:
    """What is equal for tied tensors only: the same values in the same memory.

    An empty tensor has no memory to compare, and is known by its name.
    """
    if not tensor.numel():
        return (name,)
    at = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
    return (*at, tuple(tensor.shape), tensor.stride(), tensor.dtype)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
