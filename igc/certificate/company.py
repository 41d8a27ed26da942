"""Files of one run: what the manifest says of those beside the model, and which of them are not.

Files are put in place one after the other, the model last. Where a run was killed in between, some
are new and some old, each of them whole: then the hashes tell which.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from igc.certificate import manifest_path
from igc.errors import show
from igc.program.digest import file_sha256

MAX_MANIFEST = 256 << 20
MAX_FILES = 16  # that one run writes


def listed(model: Path, written: Iterable[tuple[Path, Path]]) -> dict[str, str]:
    """The SHA-256 of each file by its place seen from the folder of `model`, for the manifest.

    `written` are the files as they will be called and as they lie now. What will not lie in that
    folder or below is left out: the manifest names no place of anybody's disk.
    """
    home = model.absolute().parent
    found = {}
    for target, now in written:
        if target.absolute().is_relative_to(home):
            place = target.absolute().relative_to(home)
            found[place.as_posix()] = file_sha256(now)
    return found


def strangers(model: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What lies beside the model under a name in its manifest, and is not that file.

    A file that is not there is no stranger.
    """
    files = manifest.get("files", {})
    if not isinstance(files, dict) or len(files) > MAX_FILES:
        yield "files: the manifest's list of files is none"
        return
    for name, stated in files.items():
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\0" in name:
            yield f"files: the manifest names {show(name)}, which is not beside the model"
            continue
        path = model.absolute().parent / place
        if path.is_file() and file_sha256(path) != stated:
            yield f"files: {name} is not of the run that wrote {manifest_path(model).name}"


def unlike(model: Path, end: Any) -> list[str]:
    """Which files beside the model are not of its run; nothing where no manifest lies there.

    `end(text)` is what a model ends with that belongs to the manifest of that text.
    """
    beside = manifest_path(model)
    if not beside.is_file() or beside.stat().st_size > MAX_MANIFEST:
        return []
    text = beside.read_bytes()
    expected = end(text)
    with model.open("rb") as file:
        file.seek(max(0, model.stat().st_size - len(expected)))
        if file.read() != expected:
            return [f"files: {model.name} and {beside.name} are not of one run"]
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        return [f"files: {beside.name} is no manifest of igc's"]
    return list(strangers(model, manifest)) if isinstance(manifest, dict) else []
