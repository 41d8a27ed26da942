"""One set of weights for several readers: what is cut of a constant for each, or cut of one part.

Each reader of a weight gets the part that it reads. Where the parts overlap so much that one part
which holds them all is smaller than they are together, that one is stored, and the readers take
theirs from it as the network runs: a block that is used six times under six masks, a kernel of
which two widths are used. The network never holds more than its checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from igc.analysis.reads import Masks

MANY = 32  # parts, which are joined pair by pair


@dataclass(frozen=True)
class Shared:
    """A part of a constant that several readers take theirs from."""

    masks: Masks
    readers: int

    @property
    def size(self) -> int:
        """Elements."""
        return _size(self.masks)

    def holds(self, masks: Masks) -> bool:
        """Whether another part lies in this one."""
        return all(bool((m <= w).all()) for m, w in zip(masks, self.masks, strict=True))


def shared_parts(readers: list[Masks]) -> list[Shared]:
    """The parts to store of a constant, so that together they are small.

    `readers` are the parts read of it, which may repeat. They are joined two by two, best first,
    while that makes fewer elements of them; very many all at once or not at all.
    """
    parts: dict[bytes, Shared] = {}
    for masks in readers:
        key = b"".join(m.tobytes() for m in masks)
        parts.setdefault(key, Shared(masks, 1))
    found = list(parts.values())
    if len(found) > MANY:
        whole = reduce(_hull, (part.masks for part in found))
        less = _size(whole) < sum(part.size for part in found)
        return [Shared(whole, len(found))] if less else found
    while len(found) > 1:
        saved, i, j = max(
            (found[i].size + found[j].size - _size(_hull(found[i].masks, found[j].masks)), -i, -j)
            for i in range(len(found))
            for j in range(i)
        )
        if saved <= 0:
            break
        a, b = found[-i], found[-j]
        joined = Shared(_hull(a.masks, b.masks), a.readers + b.readers)
        found = [each for each in found if each is not a and each is not b] + [joined]
    return found


def _hull(a: Masks, b: Masks) -> Masks:
    return tuple(np.asarray(x | y) for x, y in zip(a, b, strict=True))


def _size(masks: Masks) -> int:
    return int(np.prod([int(m.sum()) for m in masks], dtype=np.int64))
