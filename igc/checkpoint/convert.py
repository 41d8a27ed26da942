"""A weight file written anew with its tensors alone: what other tools, and other people, can read.

Nothing in the file is run, as in `read_weights`; igc has no way to read what needs that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from igc.checkpoint.weights import Weights, read_weights
from igc.errors import BadInput, one_line
from igc.files import atomic_write

ENDINGS = (".safetensors", ".pt", ".pth")


def convert(
    path: str | os.PathLike[str], out: str | os.PathLike[str], key: str | None = None
) -> Weights:
    """Writes the tensors that `read_weights` finds to `out`, as its suffix says, and returns them.

    A `.pt` file keeps which tensors share their memory, a `.safetensors` file holds each by
    itself. Raises `BadInput` for another suffix and for what cannot be written, and what
    `read_weights` raises.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in ENDINGS:
        raise BadInput(f"{Path(out)} has to end in one of {', '.join(ENDINGS)}")
    weights = read_weights(path, key)
    plain = {name: tensor.detach() for name, tensor in weights.tensors.items()}
    with atomic_write(out) as temporary:
        if suffix == ".safetensors":
            _safetensors(plain, temporary)
        else:
            torch.save(plain, temporary)
    return weights


def _safetensors(tensors: Mapping[str, Tensor], target: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        whole = tensor.is_contiguous() and storage not in seen
        seen.add(storage)
        apart[name] = tensor if whole else tensor.contiguous().clone()
    try:
        save_file(apart, target)
    except (SafetensorError, KeyError, ValueError) as error:  # a type that the format lacks
        reason = one_line(error, 160, in_ascii=True)
        raise BadInput(f"cannot write safetensors: {reason}; name a .pt file") from None
