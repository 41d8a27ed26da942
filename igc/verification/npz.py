"""Reading the arrays of a `.npz` file that nobody vouches for.

numpy takes the memory that an array's header claims before it reads the array, and unpacks
whatever was compressed. Both are looked at first; pickled objects are never read.
"""

from __future__ import annotations

import zipfile
import zlib
from math import prod
from os import PathLike
from typing import Any

import numpy as np

from igc.errors import BadInput, one_line

MAX_ARRAYS = 1024
MAX_BYTES = 4 << 30  # of all arrays, unpacked
READING = (
    OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, MemoryError,
    NotImplementedError, OverflowError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(path: str | PathLike[str]) -> dict[str, Any]:
    """The arrays by name. Raises `BadInput` for anything but plain arrays of at most 4 GiB."""
    try:
        _check(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except READING as error:
        reason = one_line(error, 200)
        raise BadInput(f"{path}: not a readable .npz file of plain arrays: {reason}") from error


def _check(path: str | PathLike[str]) -> None:
    """Raises where the entries or their headers claim more than there may be."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ARRAYS:
            raise ValueError(f"it holds {len(entries)} arrays, more than {MAX_ARRAYS}")
        total = sum(entry.file_size for entry in entries)
        if total > MAX_BYTES:
            raise ValueError(f"it unpacks to {total / 2**30:.1f} GiB, more than 4 GiB")
        for entry in entries:
            with archive.open(entry) as stream:
                version = np.lib.format.read_magic(stream)
                if version not in ((1, 0), (2, 0)):
                    raise ValueError(f"'{entry.filename}' has no header that igc knows")
                header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(stream)
            if dtype.hasobject:
                raise ValueError(f"'{entry.filename}' holds Python objects")
            if prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"'{entry.filename}' has the shape {shape}, more than it holds")
