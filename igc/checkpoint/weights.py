"""Plain weight files: torch, safetensors, and several files with an index."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from igc.checkpoint.archive import Archive, open_archive, regular_file
from igc.checkpoint.choice import choose, has_tensors, is_tensor, names
from igc.checkpoint.inert import Stored, read_inert
from igc.checkpoint.mapped import MappedFile
from igc.checkpoint.names import unwrapped
from igc.checkpoint.reading import MAX_PICKLE, load_scanned, state_tensors
from igc.checkpoint.scan import scan
from igc.checkpoint.shards import is_index, read_shards
from igc.errors import BadCheckpoint, one_line, show


@dataclass(frozen=True)
class Weights:
    """The tensors of a weight file by name, and `notes`: what a user should know of the choice.

    `versions` is the `_metadata` of a state_dict: by the path of a module, which version of its
    class wrote the tensors. Some layers read older versions in their own way.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_weights(path: str | os.PathLike[str], key: str | None = None) -> Weights:
    """The tensors of a weight file, memory-mapped where possible; nothing in the file is run.

    A state_dict may lie bare in the file or under one of the usual keys (`choice.USUAL`); `key`
    names another, a path `a.b`, or the beginning that the wanted names have. What DataParallel,
    torch.compile and AveragedModel add to the names is dropped. What lies beside the tensors is
    left out, and noted where reading it would run code. Raises `BadInput` for a path that cannot
    be read and `BadCheckpoint` for a file without such tensors.
    """
    file = regular_file(path)
    try:
        if is_index(file):
            return _made(read_shards(file, _shard), key)
        return _read(file, key)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"cannot load {file}: {error}") from None


def read_state_dict(path: str | os.PathLike[str], key: str | None = None) -> dict[str, Tensor]:
    """The tensors that `read_weights` finds."""
    return read_weights(path, key).tensors


def _shard(file: Path) -> Mapping[str, Tensor]:
    """The tensors of one file of several: bare, under the names that the index knows."""
    try:
        if _is_safetensors(file):
            return _safetensors(file)
        archive = open_archive(file, MAX_PICKLE)
        scan(archive.pickle)
        found = load_scanned(archive)
        if not isinstance(found, dict):
            raise BadCheckpoint(f"it holds {show(found)}, expected a state_dict")
        return state_tensors(found)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"in {show(file.name)}: {error}") from None


def _read(file: Path, key: str | None) -> Weights:
    if _is_safetensors(file):
        return _made(_safetensors(file), key)
    archive = open_archive(file, MAX_PICKLE)
    try:
        scan(archive.pickle)
    except BadCheckpoint as refusal:
        return _made_of_stand_ins(archive, key, str(refusal))
    return _made(load_scanned(archive), key)


def _made_of_stand_ins(archive: Archive, key: str | None, refusal: str) -> Weights:
    """The chosen tensors of a file that torch may not read whole; `refusal` says why not."""
    found, foreign = read_inert(archive.pickle)
    if not isinstance(found, dict) or found.get("format") == "igc":
        raise BadCheckpoint(refusal)
    try:
        part, notes = choose(found, key)
    except BadCheckpoint as error:
        named = f" (it names code, which igc never runs: {names(foreign)})" if foreign else ""
        raise BadCheckpoint(f"{error}{named}") from None
    if not has_tensors(part):
        raise BadCheckpoint(refusal)
    file = MappedFile(archive)
    for name, value in part.items():
        if isinstance(value, Stored):
            part[name] = file.tensor(value, name)
    if foreign:
        notes.append(f"skipped, and nothing of it was run: {names(foreign)}")
    return _checked(part, notes)


def _made(found: Any, key: str | None) -> Weights:
    """The chosen tensors of what a file holds."""
    if not isinstance(found, dict):
        raise BadCheckpoint(f"it holds {show(found)}, expected a state_dict")
    if found.get("format") == "igc":
        raise BadCheckpoint("it holds a whole network; load it without --model")
    return _checked(*choose(found, key))


def _checked(part: dict[Any, Any], notes: list[str]) -> Weights:
    """The tensors of the part that was chosen; what is none is left out and noted."""
    tensors = {name: value for name, value in part.items() if is_tensor(value)}
    others = [name for name in part if name not in tensors]
    if tensors and others:
        notes = [*notes, f"left out, being no tensors: {names(others)}"]
    return Weights(unwrapped(state_tensors(tensors or part)), tuple(notes), _versions(part))


def _versions(part: Any) -> dict[str, dict[str, Any]]:
    """The `_metadata` of a state_dict as far as it is what torch writes: versions by module."""
    found = getattr(part, "_metadata", None)
    if not isinstance(found, dict):
        return {}
    return {
        path: {"version": held["version"]}
        for path, held in found.items()
        if isinstance(path, str) and isinstance(held, dict) and type(held.get("version")) is int
    }


def _is_safetensors(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"


def _safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = one_line(error, 160, in_ascii=True)
        raise BadCheckpoint(f"it is no proper safetensors file: {reason}") from None
