"""Identifiers for generated code: every name that a network brings along is made harmless here."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

MAX_LENGTH = 80


def identifier(text: str, default: str = "value") -> str:
    """`text` as a plain ASCII Python identifier: letters, digits and single underscores.

    Leading underscores go (so no dunder can appear), a leading digit gets an `n` before it, and a
    Python keyword a trailing underscore. Empty results become `default`.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:MAX_LENGTH].strip("_")
    if not name:
        return default
    if name[0].isdigit():
        name = "n" + name
    return name + "_" if keyword.iskeyword(name) or keyword.issoftkeyword(name) else name


class Names:
    """Hands out identifiers, each once; `taken` holds those that are not free."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def new(self, text: str, default: str = "value") -> str:
        """`identifier(text)`, with a number behind it where that one is taken."""
        base = identifier(text, default)
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name
