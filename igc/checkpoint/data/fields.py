"""Reading fields of plain data that nobody vouches for: each reader checks type and bounds.

Every refusal is a `BadCheckpoint` whose line names the place and shows at most 80 characters of
what stood there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from igc.errors import BadCheckpoint, is_clean, show

MAX_TEXT = 512
MAX_ITEMS = 1 << 20
INT64 = 1 << 63


def record(
    data: Any, where: str, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, Any]:
    """`data` as a dict with exactly these fields; unknown and missing ones are refused by name."""
    if not isinstance(data, dict):
        raise BadCheckpoint(f"{where} is {show(data)}, expected named fields")
    required = list(required)
    for key in data:
        if key not in required and key not in optional:
            raise BadCheckpoint(f"{where} has an unknown field {show(key)}")
    for key in required:
        if key not in data:
            raise BadCheckpoint(f"{where} lacks the field '{key}'")
    return data


def table(data: Any, where: str) -> dict[str, Any]:
    """`data` as a dict from clean names to anything."""
    if not isinstance(data, dict):
        raise BadCheckpoint(f"{where} is {show(data)}, expected a table of names")
    for key in items(list(data), where):
        text(key, where)
    return data


def items(data: Any, where: str, limit: int = MAX_ITEMS) -> list[Any]:
    """`data` as a list of at most `limit` entries."""
    if not isinstance(data, list):
        raise BadCheckpoint(f"{where} is {show(data)}, expected a list")
    if len(data) > limit:
        raise BadCheckpoint(f"{where} has {len(data)} entries, more than the limit of {limit}")
    return data


def text(data: Any, where: str) -> str:
    """`data` as a printable string of at most 512 characters."""
    if not isinstance(data, str):
        raise BadCheckpoint(f"{where} is {show(data)}, expected text")
    if len(data) > MAX_TEXT:
        raise BadCheckpoint(f"{where} holds a name of {len(data)} characters, at most {MAX_TEXT}")
    if not is_clean(data):
        raise BadCheckpoint(f"{where} holds a name with unprintable characters: {show(data)}")
    return data


def name(data: Any, where: str) -> str:
    """`data` as a plain ASCII identifier, which is what nodes, inputs and sizes are called."""
    found = text(data, where)
    if not (found.isascii() and found.isidentifier()):
        raise BadCheckpoint(f"{where} is called {show(found)}, expected an identifier")
    return found


def integer(data: Any, where: str, low: int = -INT64, high: int = INT64 - 1) -> int:
    """`data` as an integer in [low, high]; a bool is none."""
    if not isinstance(data, int) or isinstance(data, bool):
        raise BadCheckpoint(f"{where} is {show(data)}, expected an integer")
    if not low <= data <= high:
        raise BadCheckpoint(f"{where} is {show(data)}, outside {low}..{high}")
    return data
