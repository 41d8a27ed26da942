"""What a network returns, in containers that igc knows: `structured`, and back again: `finished`.

Tuples, lists, dicts and namedtuples stay. A dataclass, a namespace and a mapping of a class of its
own, as the output classes of transformers are, become a `Record`: the values, and how to make the
object of them. Numbers, texts and truth values beside the tensors become a `Constant`.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from igc.errors import BadInput, show
from igc.program.structure import Absent, Constant, Kind, Record, is_named

KNOWN = "tensors, numbers and texts in tuples, lists, dicts, namedtuples, dataclasses or mappings"


def structured(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """The value a network returns, over containers that igc knows, tensors as they are.

    Raises `BadInput`, with the name of the output, for what is none and cannot be made anew.
    """
    if value is None or isinstance(value, Tensor):
        return value
    if is_named(value):
        made = [structured(v, (*path, f)) for f, v in zip(value._fields, value, strict=True)]
        return type(value)(*made)
    if type(value) in (tuple, list):
        return type(value)([structured(v, (*path, i)) for i, v in enumerate(value)])
    if type(value) in (dict, OrderedDict):
        pairs = [(_key(k, path), structured(v, (*path, k))) for k, v in value.items()]
        return type(value)(pairs)
    if type(value) in (str, int, float, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{_output(path)} is {value}; return a finite number or a tensor")
        return Constant(value)
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        raise BadInput(f"{_output(path)} is a size of the inputs; return it as a tensor or not")
    return _record(value, path)


def _record(value: Any, path: tuple[Any, ...]) -> Record:
    for parts in (_of_fields, _of_items, _of_registered):
        found = parts(value)
        if found is not None:
            kind, members = found
            made = [structured(v, (*path, k)) for k, v in zip(kind.keys, members, strict=True)]
            return Record(kind, made)
    raise BadInput(
        f"{_output(path)} is a {type(value).__name__}, which igc cannot make anew; let the network "
        f"return {KNOWN}"
    )


Parts = tuple[Kind, Sequence[Any]]


def _of_fields(value: Any) -> Parts | None:
    """An object that is its fields: a dataclass, a namespace."""
    if isinstance(value, types.SimpleNamespace):
        names = tuple(vars(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = tuple(f.name for f in dataclasses.fields(value))
        if not all(f.init for f in dataclasses.fields(value)):
            return None
    else:
        return None
    members = [getattr(value, name) for name in names]
    kind = Kind(type(value), "fields", names)
    return (kind, members) if _same(value, lambda: _made(kind, members)) else None


def _of_items(value: Any) -> Parts | None:
    """A dict of a class of its own that is made of its items."""
    if not isinstance(value, dict):
        return None
    kind, members = Kind(type(value), "items", tuple(value)), list(value.values())
    return (kind, members) if _same(value, lambda: _made(kind, members)) else None


def _of_registered(value: Any) -> Parts | None:
    """An object of a class that torch has been told how to take apart."""
    known = pytree.SUPPORTED_NODES.get(type(value))
    if known is None:
        return None
    members, context = known.flatten_fn(value)
    keys = tuple(value) if isinstance(value, dict) else tuple(range(len(members)))
    return Kind(type(value), "parts", keys, context), members


def _same(value: Any, make: Callable[[], Any]) -> bool:
    """Whether what is made anew has the attributes and items of the value, and no others."""
    try:
        made = make()
    except Exception:  # a class may raise anything in its constructor
        return False
    if type(made) is not type(value):
        return False
    pairs = [(getattr(value, "__dict__", {}), getattr(made, "__dict__", {}))]
    if isinstance(value, dict):
        pairs.append((value, made))
    return all(
        list(a) == list(b) and all(a[k] is b[k] or _equal(a[k], b[k]) for k in a) for a, b in pairs
    )


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and isinstance(a, (str, int, float, bool, tuple)) and a == b


def _made(kind: Kind, members: Sequence[Any]) -> Any:
    """The object of this kind with these members."""
    if kind.how == "fields":
        return kind.type(**dict(zip(kind.keys, members, strict=True)))
    if kind.how == "items":
        return kind.type(dict(zip(kind.keys, members, strict=True)))
    return pytree.SUPPORTED_NODES[kind.type].unflatten_fn(list(members), kind.context)


def maker(kind: Kind) -> Callable[..., Any]:
    """What generated code calls: of fields by keyword, of a dict of items, of a list of parts."""
    if kind.how == "parts" and kind.is_dict:
        return lambda items: _made(kind, list(items.values()))
    if kind.how == "parts":
        return lambda members: _made(kind, members)
    return kind.type


def finished(value: Any) -> Any:
    """The value with the objects that its records stand for."""
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, Record):
        return _made(value.kind, [finished(v) for v in value.members])
    if is_named(value):
        return type(value)(*map(finished, value))
    if type(value) in (tuple, list):
        return type(value)(map(finished, value))
    if type(value) in (dict, OrderedDict):
        return type(value)((k, finished(v)) for k, v in value.items())
    return value


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of what a network returns, in the order of its outputs."""
    leaves = pytree.tree_leaves(structured(value))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def constants_of(spec: pytree.TreeSpec) -> dict[str, Any]:
    """The constants that a network returns beside its tensors, by the names of the outputs."""
    found: dict[str, Any] = {}

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, Constant):
            found[output_name(path)] = value.value
        elif isinstance(value, Record):
            for key, member in zip(value.kind.keys, value.members, strict=True):
                walk(member, (*path, key))
        elif is_named(value):
            for key, member in zip(value._fields, value, strict=True):
                walk(member, (*path, key))
        elif isinstance(value, (list, tuple)):
            for i, member in enumerate(value):
                walk(member, (*path, i))
        elif isinstance(value, dict):
            for key, member in value.items():
                walk(member, (*path, key))

    walk(pytree.tree_unflatten([Absent()] * spec.num_leaves, spec), ())
    return found


def output_name(path: Sequence[Any]) -> str:
    """The name of an output by its place: "seg.aux", "disp.0", or "output_1" without any text."""
    parts = [str(p) for key in path for p in (key if isinstance(key, tuple) else (key,))]
    if any(not p.isdigit() for p in parts):
        return ".".join(parts)
    return "output" + "".join("_" + p for p in parts)


def _output(path: tuple[Any, ...]) -> str:
    return f"output '{output_name(path)}'" if path else "what the network returns"


def _key(key: Any, path: tuple[Any, ...]) -> Any:
    """A key that a file can hold; `BadInput` for another."""
    plain = (str, int, bool, type(None))
    if type(key) in plain or (type(key) is tuple and all(type(k) in plain for k in key)):
        return key
    raise BadInput(
        f"{_output((*path, str(key)))} has the key {show(key)}, a {type(key).__name__}; name "
        "outputs by text, integers, or tuples of them"
    )
