"""Reading a checkpoint: nothing in it is trusted, nothing in it is run."""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from igc.checkpoint.archive import Archive, open_archive, regular_file
from igc.checkpoint.data import from_data
from igc.checkpoint.data.fields import record, table
from igc.checkpoint.gated_graph import BUFFER, FROZEN, PARAMETER, GatedGraph
from igc.checkpoint.scan import scan
from igc.errors import BadCheckpoint, BadInput, one_line, show
from igc.program import Program
from igc.program.digest import file_sha256
from igc.program.health import check_gates

FORMAT = "igc"
VERSION = 1
MAX_TEXT = 64 << 20
# The index comes first in the file, and the format first in the index.
_MARK = re.compile(rb"/data\.pkl.*\x80\x02}q\x00\(X\x06\0\0\0formatq\x01X\x03\0\0\0igc", re.DOTALL)
MAX_PICKLE = MAX_TEXT + (32 << 20)


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds: the program, all tensors, and what each was in the module."""

    kind: str
    program: Program
    tensors: dict[str, Tensor]
    state: dict[str, str]


def load(path: str | os.PathLike[str]) -> nn.Module:
    """The network in a file that `igc.save` or `StaticNetwork.save` wrote, as an `nn.Module`.

    A gated one is a `GatedGraph`, a static one a `StaticNetwork`. The user's code is
    neither needed nor run. Weights are mapped from the file and copied when first written to.
    Raises `BadInput` for a path that cannot be read and `BadCheckpoint` for a file that is
    damaged, foreign or unsafe; a gate that is NaN is one.
    """
    stored = read(path)
    if stored.kind == "static":
        from igc.emit import emit

        network: nn.Module = emit(stored.program)
        return network
    return GatedGraph(stored.program, stored.tensors, stored.state)


def load_program(path: str | os.PathLike[str]) -> Program:
    """The program in a file that igc wrote; raises like `load`.

    Its note says the `kind` ("gated" or "static"), the `source_sha256` of the file and, for a
    static one, the hash of the gated checkpoint it was `compiled_from`, if that was a file.
    """
    return read(path).program


def is_igc_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` begins like a checkpoint of igc's, of any version; the rest may be damaged.

    Only `load` can tell whether it is a good one, and says what is wrong with it otherwise.
    """
    try:
        with regular_file(path).open("rb") as file:
            return _MARK.search(file.read(4096)) is not None
    except (BadInput, OSError):
        return False


def read(path: str | os.PathLike[str]) -> Stored:
    """Everything in a checkpoint; raises like `load`."""
    file = regular_file(path)
    try:
        payload = read_archive(file)
        data, state = read_header(payload)
        tensors = payload["tensors"]
        program = from_data(data, tensors)
        check_gates(program)
        for name in tensors:
            if name not in state and name not in program.constants:
                raise BadCheckpoint(f"it holds a tensor that nothing uses, {show(name)}")
    except BadCheckpoint as error:
        raise BadCheckpoint(f"cannot load {file}: {error}") from None
    # A static file names its buffers alone, a gated one everything that is in the state_dict.
    unnamed = PARAMETER if payload["kind"] == "static" else BUFFER
    stored = {name for name in tensors if state.get(name, unnamed) == BUFFER}
    noted = {
        **program.note,
        **({"buffers": tuple(sorted(stored))} if stored else {}),
        "kind": payload["kind"],
        "source_sha256": file_sha256(file),
    }
    return Stored(payload["kind"], replace(program, note=noted), tensors, state)


def read_archive(path: Path) -> Any:
    """What `torch.load` returns for the file, after all checks; tensors are memory-mapped."""
    archive = open_archive(path, MAX_PICKLE)
    scan(archive.pickle)
    return load_scanned(archive)


def load_scanned(archive: Archive) -> Any:
    """What `torch.load` returns for an archive whose pickle `scan` let pass."""
    try:
        found = torch.load(archive.path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises every kind there is for a crafted file
        reason = one_line(error, 160, in_ascii=True)
        raise BadCheckpoint(f"it is damaged: {reason or type(error).__name__}") from None
    archive.check_unchanged()
    check_containers(found)
    return found


def check_containers(found: Any) -> None:
    """Raises `BadCheckpoint` for a dict with attributes of its own: one may be called `items`.

    A state_dict has `_metadata`, which is read as data.
    """
    waiting, seen = [found], set()
    while waiting:
        value = waiting.pop()
        if not isinstance(value, (dict, list, tuple, set)) or id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is OrderedDict and vars(value).keys() - {"_metadata"}:
            raise BadCheckpoint("its index hangs attributes on a dict, which torch never does")
        waiting += dict.values(value) if isinstance(value, dict) else value


def read_header(payload: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The program as plain data, and what each tensor was in the user's module."""
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise BadCheckpoint(
            "it holds no igc network; if it is a state_dict, say which network it is for: "
            "--model FILE.py:factory"
        )
    version = payload.get("version")
    if version != VERSION:
        raise BadCheckpoint(
            f"it is in version {show(version)} of the format, this igc reads {VERSION}; update igc"
        )
    record(payload, "the file", ("format", "version", "kind", "program", "tensors"))
    if payload["kind"] not in ("gated", "static"):
        raise BadCheckpoint(f"it holds a network of an unknown kind, {show(payload['kind'])}")
    for name, tensor in table(payload["tensors"], "the tensors").items():
        check_tensor(tensor, name)
    header = record(_json(payload["program"]), "the program", ("program", "state"))
    state = table(header["state"], "the state")
    for name, kind in state.items():
        if name not in payload["tensors"]:
            raise BadCheckpoint(f"the state names {show(name)}, which the file lacks")
        if kind not in (PARAMETER, FROZEN, BUFFER):
            raise BadCheckpoint(f"the state calls {show(name)} a {show(kind)}")
        dtype = payload["tensors"][name].dtype
        if kind != BUFFER and not (dtype.is_floating_point or dtype.is_complex):
            raise BadCheckpoint(f"the state calls {show(name)} a parameter, but it is {dtype}")
    return header["program"], state


def _json(text: Any) -> Any:
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise BadCheckpoint(f"the program is {show(text)}, expected JSON of at most 64 MiB")

    def refuse(constant: str) -> None:
        raise ValueError(f"a bare {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError, MemoryError) as error:
        reason = ascii(str(error))[1:-1][:120]
        raise BadCheckpoint(f"the program is no proper JSON: {reason}") from None


def check_tensor(tensor: Any, name: str) -> None:
    """Raises `BadCheckpoint` unless it is an ordinary tensor that lies in the file in full."""
    if type(tensor) not in (Tensor, nn.Parameter):
        raise BadCheckpoint(f"{show(name)} is a {type(tensor).__name__}, expected a tensor")
    hooks = tensor._backward_hooks
    plain = (
        (hooks is None or (isinstance(hooks, dict) and not hooks))
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
    )
    if not plain:
        raise BadCheckpoint(f"the tensor {show(name)} is of an unsupported kind")
    if not _lies_within(tensor):
        raise BadCheckpoint(
            f"the tensor {show(name)} has the shape {tuple(tensor.shape)}, more than the file holds"
        )


def _lies_within(tensor: Tensor) -> bool:
    """Whether all that the tensor reaches lies in its storage, each element at its own step."""
    held, size = tensor.untyped_storage().nbytes(), tensor.element_size()
    steps = [(n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True) if n]
    if tensor.storage_offset() < 0 or any(s < 0 for s in tensor.stride()):
        return False
    if not tensor.numel():
        return True
    end = tensor.storage_offset() + sum(steps) + 1
    return max(end, tensor.numel()) * size <= held


def state_tensors(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    """A state_dict's entries, each checked to be a tensor."""
    for name, tensor in found.items():
        if not isinstance(name, str):
            raise BadCheckpoint(f"a key is {show(name)}, expected names of tensors")
        check_tensor(tensor, name)
    return dict(found)
