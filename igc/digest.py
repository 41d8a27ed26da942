"""Hashes of tensors, and what a static network remembers of the network it was compiled from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from igc.graph import Program


@dataclass(frozen=True)
class Source:
    """What was compiled: its floating type, and hashes as a manifest lists them.

    `hashes` holds the SHA-256 of the checkpoint file under "" (empty where a module was compiled)
    and the `digest` of each tensor that the network reads.
    """

    dtype: torch.dtype
    hashes: Mapping[str, str]


def source_of(program: Program, file: str = "") -> Source:
    """The source that `program` is, read from a file with this SHA-256."""
    tensors = {name: digest(value) for name, value in program.constants.items()}
    return Source(program.dtype, {"": file, **tensors})


def digest(value: Tensor) -> str:
    """A hash of a tensor: dtype, shape and bytes."""
    value = value.detach().cpu().contiguous()
    found = hashlib.sha256(f"{value.dtype} {tuple(value.shape)} ".encode())
    if value.numel():
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
