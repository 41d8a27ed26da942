"""Where two protobuf messages differ, or two pieces of JSON: every field, one line each.

Whatever a message holds is compared, fields that igc never writes as well: no list here says what
matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from igc.errors import show

#: What is told first where several fields of a message differ; the rest in the order of ONNX.
FIRST = ("graph", "input", "op_type", "node", "attribute", "initializer", "output")
#: Levels that every reader of a place knows to be there.
SILENT = frozenset({"graph", "type", "tensor_type", "shape", "g", "t"})
#: What one entry of a list is called, and the field that holds its name.
CALLED = {
    "node": ("node", "name"), "initializer": ("initialiser", "name"), "input": ("input", "name"),
    "output": ("output", "name"), "value_info": ("value", "name"), "dim": ("size", ""),
    "attribute": ("attribute", "name"), "metadata_props": ("metadata", "key"),
    "functions": ("function", "name"), "opset_import": ("opset", "domain"),
}  # fmt: skip


def of_messages(given: Any, made: Any, where: str = "") -> Iterator[str]:
    """One line for each place where the message `given` is not the message `made`."""
    if _bytes(given) == _bytes(made):
        return
    found = False
    theirs, ours = ({f.name: v for f, v in m.ListFields()} for m in (given, made))
    fields = sorted(made.DESCRIPTOR.fields, key=_rank)
    for name in (f.name for f in fields if f.name in theirs or f.name in ours):
        for line in _field(name, theirs.get(name), ours.get(name), where, made):
            found = True
            yield line
    if not found:
        yield f"{where or 'the file'}: fields that ONNX does not have"


def of_data(given: Any, made: Any, where: str) -> Iterator[str]:
    """The same for JSON."""
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        for key in (*made, *(k for k in given if k not in made)):
            if key not in given or key not in made:
                yield f"{where}, {show(key)}: {'one more' if key in given else 'missing'}"
            else:
                yield from of_data(given[key], made[key], f"{where}, {show(key)}")
    elif isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        for i, (theirs, ours) in enumerate(zip(given, made, strict=True)):
            yield from of_data(theirs, ours, f"{where}, entry {i}")
    elif type(given) is not type(made) or given != made:
        yield f"{where}: {show(given)} where {show(made)} was rebuilt"


def _field(name: str, given: Any, made: Any, where: str, holder: Any) -> Iterator[str]:
    place = where if name in SILENT else _join(where, name)
    if given is None or made is None:
        one = made if given is None else given
        many = len(one) if _is_list(one) else 1
        for i in range(many):
            named = _entry(name, i, one[i], where) if _is_list(one) and _is_message(one[i]) else ""
            yield f"{named or place}: {'missing' if given is None else 'one more'}"
            if not named:
                return
    elif _is_list(made) and _is_message((made or given)[0]):
        yield from _entries(name, list(given), list(made), where)
    elif _is_message(made):
        yield from of_messages(given, made, place)
    elif repr(given) != repr(made):  # 0.0 is not -0.0, and nan is nan
        if name == "raw_data" and len(given) == len(made):
            yield f"{where}: {_values(given, made, holder)}"
        else:
            yield f"{place}: {_shown(given)} where {_shown(made)} was rebuilt"


def _entries(field: str, given: list[Any], made: list[Any], where: str) -> Iterator[str]:
    """Lists of messages: by name where every entry has its own, else one after the other."""
    theirs, ours = _by_name(field, given), _by_name(field, made)
    pairs: Iterable[tuple[Any, Any]] = zip_longest(given, made)
    if theirs is not None and ours is not None:
        names = [*ours, *(n for n in theirs if n not in ours)]
        pairs = [(theirs.get(n), ours.get(n)) for n in names]
        if theirs.keys() == ours.keys() and [*theirs] != [*ours]:
            yield f"{_join(where, CALLED[field][0])}: in another order"
    for i, (old, new) in enumerate(pairs):
        at = _entry(field, i, new if old is None else old, where)
        if old is None or new is None:
            yield f"{at}: {'missing' if old is None else 'one more'}"
        else:
            yield from of_messages(old, new, at)


def _by_name(field: str, entries: list[Any]) -> dict[Any, Any] | None:
    key = CALLED.get(field, ("", ""))[1]
    found = {getattr(e, key): e for e in entries} if key else {}
    return found if len(found) == len(entries) else None


def _values(given: bytes, made: bytes, tensor: TensorProto) -> str:
    """Which numbers of a tensor differ."""
    width = max(1, len(made) // max(1, prod(tensor.dims)))
    theirs, ours = (np.frombuffer(b, np.uint8) for b in (given, made))
    places = np.unique(np.flatnonzero(theirs != ours) // width)
    first = int(places[0])
    said = f"{len(places)} of {len(made) // width} numbers differ, first number {first}"
    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        a, b = (np.frombuffer(x, kind, 1, first * width)[0] for x in (given, made))
    except (KeyError, ValueError):
        return said
    return f"{said}: {a!s} where {b!s} was rebuilt"


def _rank(field: Any) -> tuple[int, int]:
    return FIRST.index(field.name) if field.name in FIRST else len(FIRST), field.number


def _entry(field: str, i: int, value: Any, where: str) -> str:
    """What to call an entry of a list of messages."""
    word, key = CALLED.get(field, (field, ""))
    name = getattr(value, key, "") if key else ""
    number = f" {i}" if field in ("node", "dim") or not name else ""
    return _join(where, f"{word}{number}{f' {show(name)}' if name else ''}")


def _join(where: str, part: str) -> str:
    return f"{where}, {part}" if where else part


def _shown(value: Any) -> str:
    text = ascii(list(value)) if _is_list(value) else show(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_message(value: Any) -> bool:
    return hasattr(value, "ListFields")


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
