"""Checkpoints in several files: an index that says in which file beside it each tensor lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from igc.checkpoint.archive import regular_file
from igc.errors import BadCheckpoint, one_line, show

MAX_INDEX = 64 << 20
MAX_SHARDS = 4096


def is_index(path: Path) -> bool:
    """Whether it is named like an index: `model.safetensors.index.json`."""
    return path.suffix.lower() == ".json"


def with_shards(path: Path) -> list[Path]:
    """The file, and those that it names where it is an index; raises `BadCheckpoint` for a bad one.

    Every one of them lies, links followed, in the folder of the index, or in that where the index
    itself lies where it is a link.
    """
    return [path, *_shards(path)] if is_index(path) else [path]


def read_shards(path: Path, read: Callable[[Path], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that an index names, each from the file that it says; `read` reads one file."""
    found = {}
    for shard, names in _shards(path).items():
        held = read(shard)
        for name in names:
            if name not in held:
                raise BadCheckpoint(f"{show(shard.name)} lacks {show(name)}, which the index names")
            found[name] = held[name]
    return found


def _shards(path: Path) -> dict[Path, list[str]]:
    """The names of the tensors by the file they lie in."""
    places = _index(path)
    found: dict[str, list[str]] = {}
    for name, shard in places.items():
        if not isinstance(shard, str):
            raise BadCheckpoint(f"its index places {show(name)} in {show(shard)}, expected a file")
        found.setdefault(shard, []).append(name)
    if len(found) > MAX_SHARDS:
        raise BadCheckpoint(f"its index names {len(found)} files, igc reads {MAX_SHARDS} at most")
    return {_beside(path, shard): names for shard, names in found.items()}


def _index(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_INDEX:
        raise BadCheckpoint(f"it is {path.stat().st_size >> 20} MiB, too large to be an index")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = one_line(error, 120, in_ascii=True)
        raise BadCheckpoint(f"it is no proper JSON: {reason}") from None
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places:
        raise BadCheckpoint("it is no index of a checkpoint in several files: it has no weight_map")
    return places


def _beside(index: Path, shard: str) -> Path:
    """The file of that name beside the index."""
    try:
        file = (index.parent / shard).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL, a circle of links
        raise BadCheckpoint(f"its index names {show(shard)}, which is no file") from None
    homes = (index.parent.resolve(), index.resolve().parent)
    if ".." in Path(shard).parts or not any(home in file.parents for home in homes):
        raise BadCheckpoint(f"its index names {show(shard)}, which lies outside its folder")
    if is_index(file):
        raise BadCheckpoint(f"its index names {show(shard)}, another index")
    return regular_file(file)
