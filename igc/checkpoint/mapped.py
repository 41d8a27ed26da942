"""The tensors of an archive mapped from its file, as notes of them say where they lie."""

from __future__ import annotations

import math
import sys
from typing import cast

import torch
from torch import Tensor, UntypedStorage

from igc.checkpoint.archive import Archive
from igc.checkpoint.inert import Storage, Stored
from igc.errors import BadCheckpoint, show

ALIGNED = 64  # torch.save puts every storage at such an address


class MappedFile:
    """Maps the file once, and each storage of it once: tensors that share one go on sharing it.

    What is written into a tensor stays in memory, the file is never changed.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.whole: UntypedStorage | None = None
        self.storages: dict[str, UntypedStorage] = {}
        self.tensors: dict[int, tuple[Stored, Tensor]] = {}

    def tensor(self, note: Stored, name: str) -> Tensor:
        """The tensor; raises `BadCheckpoint` where it is more than its storage holds."""
        if id(note) not in self.tensors:
            self.tensors[id(note)] = (note, self._map(note, name))
        return self.tensors[id(note)][1]

    def _map(self, note: Stored, name: str) -> Tensor:
        length = self._place(note.storage)[1]
        size = note.dtype.itemsize
        count = math.prod(note.shape)
        steps = zip(note.shape, note.stride, strict=True)
        end = note.offset + (1 + sum((n - 1) * s for n, s in steps) if count else 0)
        huge = math.prod(max(n, 1) for n in note.shape) >= 1 << 63
        if huge or count * size > length or end * size > length:
            raise BadCheckpoint(
                f"the tensor {show(name)} has the shape {show(note.shape)}, "
                "more than the file holds"
            )
        empty = torch.empty(0, dtype=note.dtype)
        if not count:
            return empty.reshape(note.shape)
        return empty.set_(self._storage(note.storage), note.offset, note.shape, note.stride)

    def _place(self, storage: Storage) -> tuple[int, int]:
        found = self.archive.entries.get(f"data/{storage.key}")
        if found is None:
            raise BadCheckpoint(f"it is damaged: it lacks the storage {show(storage.key)}")
        return found

    def _storage(self, storage: Storage) -> UntypedStorage:
        if storage.key not in self.storages:
            start, length = self._place(storage)
            part = self._file()[start : start + length]
            self.storages[storage.key] = part.clone() if start % ALIGNED else part
        return self.storages[storage.key]

    def _file(self) -> UntypedStorage:
        if self.whole is None:
            self._check_byte_order()
            path, size = self.archive.path, self.archive.path.stat().st_size
            # `from_file` is not typed closely; `shared=False` keeps what is written in memory
            self.whole = cast(UntypedStorage, UntypedStorage.from_file(str(path), False, size))
            self.archive.check_unchanged()
        return self.whole

    def _check_byte_order(self) -> None:
        start, length = self.archive.entries.get("byteorder", (0, 0))
        with self.archive.path.open("rb") as file:
            file.seek(start)
            order = file.read(min(length, 16)).decode("ascii", "replace") or "little"
        if order != sys.byteorder:
            raise BadCheckpoint(f"it was written on a machine of another byte order, {show(order)}")
