"""The zip archive around a torch checkpoint, checked before torch reads a byte of it.

`torch.save` stores every entry uncompressed, so an entry that claims to be compressed, or to be
larger than the file, was made to exhaust memory. The checksums are compared as well: torch does
not, and a flipped bit in a weight would pass unseen.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from igc.errors import BadCheckpoint, BadInput, one_line

MAX_DIRECTORY = 32 << 20
CHUNK = 1 << 20

_LOCAL = struct.Struct("<26x2H")
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class Archive:
    """A torch archive that passed every check: its pickle, and what its file looked like.

    `entries` says where each entry's bytes lie, start and length, by its name without the folder
    that all of them share.
    """

    path: Path
    pickle: bytes
    stamp: tuple[int, int, int]
    entries: Mapping[str, tuple[int, int]]

    def check_unchanged(self) -> None:
        """Raises `BadCheckpoint` if the file was replaced or written to since it was checked."""
        if _stamp(self.path) != self.stamp:
            raise BadCheckpoint("it changed while it was being read; try again")


def regular_file(path: str | os.PathLike[str]) -> Path:
    """`path` as an existing ordinary file; raises `BadInput` otherwise."""
    found = Path(path)
    try:
        if found.is_file():
            with found.open("rb"):
                return found
        reason = "it is no ordinary file" if found.exists() else "there is no such file"
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "not a usable name").lower()
    raise BadInput(f"cannot read {ascii(str(path))[1:-1]}: {reason}")


def open_archive(path: Path, max_pickle: int) -> Archive:
    """Checks the archive at `path`, checksums included, and reads its pickle, never running it."""
    stamp = _stamp(path)
    start = _directory_start(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.start_dir != start:
                raise BadCheckpoint("it is damaged: its directory is not where it should be")
            pickle = _check_entries(archive, path.stat().st_size, max_pickle)
            entries = _places(path, archive)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError,
            NotImplementedError, KeyError, struct.error) as error:  # fmt: skip
        raise BadCheckpoint(f"it is damaged: {one_line(error, 160, in_ascii=True)}") from None
    return Archive(path, pickle, stamp, entries)


def _check_entries(archive: zipfile.ZipFile, size: int, max_pickle: int) -> bytes:
    entries = archive.infolist()
    roots = {e.filename.partition("/")[0] for e in entries}
    if any(e.filename.endswith("/constants.pkl") for e in entries):
        raise BadCheckpoint("it is a TorchScript archive, which holds code; save a state_dict")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise BadCheckpoint("it holds a compressed entry, which torch.save never writes")
        if entry.flag_bits & 0x1:
            raise BadCheckpoint("it holds an encrypted entry")
    if sum(e.file_size for e in entries) > size:
        raise BadCheckpoint("it claims to hold more than its own size; it was made to fill memory")
    if any(e.filename != e.orig_filename for e in entries):
        raise BadCheckpoint("it is damaged: an entry's name is no proper one")
    if len({e.filename.casefold() for e in entries}) != len(entries):  # torch tells no case
        raise BadCheckpoint("it is damaged: two entries have one name")
    pickles = [
        e for e in entries if e.filename.count("/") == 1 and e.filename.endswith("/data.pkl")
    ]
    if len(pickles) != 1 or len(roots) != 1:
        raise BadCheckpoint("it is a zip archive, but none that torch.save writes")
    if pickles[0].file_size > max_pickle:
        raise BadCheckpoint(f"its index is {pickles[0].file_size >> 20} MiB, too large to be one")
    for entry in entries:
        with archive.open(entry) as stream:  # reading to the end compares the checksum
            while entry is not pickles[0] and stream.read(CHUNK):
                pass
    return archive.read(pickles[0])


def _places(path: Path, archive: zipfile.ZipFile) -> dict[str, tuple[int, int]]:
    """Where the bytes of each entry lie; zipfile has read every entry and its own header before.

    Raises `BadCheckpoint` where entries overlap, or reach into the directory.
    """
    found = {}
    end = 0
    with path.open("rb") as file:
        for entry in sorted(archive.infolist(), key=lambda e: e.header_offset):
            if entry.header_offset < end:
                raise BadCheckpoint("it is damaged: two entries overlap")
            file.seek(entry.header_offset)
            name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
            start = entry.header_offset + _LOCAL.size + name + extra
            end = start + entry.file_size
            found[entry.filename.partition("/")[2]] = (start, entry.file_size)
    if end > archive.start_dir:
        raise BadCheckpoint("it is damaged: an entry overlaps the directory")
    return found


def _directory_start(path: Path) -> int:
    """Where the zip directory starts, after checks that leave readers nothing to disagree on."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(_LEGACY_MAGIC))
        file.seek(max(0, size - _END64.size - _LOCATOR.size - _END.size))
        tail = file.read()
    if head == _LEGACY_MAGIC:
        raise BadCheckpoint(
            "it is in the format of torch before 1.6; load it with torch.load(..., "
            "weights_only=True) and save it again with torch.save"
        )
    if head[:4] != b"PK\x03\x04":
        raise BadCheckpoint("it is no file that igc.save or torch.save wrote")
    if len(tail) < _END.size or not tail[-_END.size :].startswith(b"PK\x05\x06"):
        raise BadCheckpoint("it is truncated or damaged: the archive has no proper end")
    _, _, _, _, _, length, start, comment = _END.unpack(tail[-_END.size :])
    locator = tail[-_END.size - _LOCATOR.size : -_END.size]
    if locator.startswith(b"PK\x06\x07"):
        _, _, at, _ = _LOCATOR.unpack(locator)
        if at != size - len(tail) or not tail.startswith(b"PK\x06\x06"):
            raise BadCheckpoint("it is damaged: the archive has no proper end")
        *_, length, start = _END64.unpack(tail[: _END64.size])
    if comment or start + length > size or length > MAX_DIRECTORY:
        raise BadCheckpoint("it is damaged: its directory does not fit the file")
    return int(start)


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
