"""Arguments, dtypes and output structures as plain data, and back.

Integers, finite floats, strings, booleans and None stand for themselves, a list for a list.
Everything else is a dict with one key that says what it is: `{"node": "conv2d"}`,
`{"tuple": [...]}`, `{"float": "inf"}`, `{"dtype": "float32"}`, `{"memory_format": ...}`,
`{"layout": "strided"}`, `{"device": "cpu"}`. A device is always stored as the CPU.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from igc.checkpoint.data.fields import integer, items, text
from igc.errors import BadCheckpoint, BadInput, show
from igc.program.structure import (
    ELSEWHERE,
    Absent,
    Constant,
    Record,
    is_named,
    named,
    require_fields,
)

MAX_DEPTH = 16
MAX_LIST = 65536
LEAF = object()  # what a tensor is while a structure is written; a None is a None

DTYPES: dict[str, torch.dtype] = {
    str(d).removeprefix("torch."): d
    for d in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
        torch.complex128, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32,
        torch.int64,
    )
}  # fmt: skip
MEMORY_FORMATS: dict[str, torch.memory_format] = {
    str(m).removeprefix("torch."): m
    for m in (
        torch.contiguous_format, torch.preserve_format, torch.channels_last,
        torch.channels_last_3d,
    )
}  # fmt: skip
FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def dtype_name(dtype: torch.dtype) -> str:
    """The stored name of a dtype; raises `BadInput` for one that is never stored."""
    found = str(dtype).removeprefix("torch.")
    if found not in DTYPES:
        raise BadInput(f"the network uses {dtype}, which cannot be stored; convert it first")
    return found


def read_dtype(data: Any, where: str) -> torch.dtype:
    """The dtype of that name."""
    found: torch.dtype = _choice(data, DTYPES, where, "dtype")
    return found


def encode(value: Any) -> Any:
    """One argument of a node as plain data; raises `BadInput` for what has no such form."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {"float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, tuple) and type(value).__name__ in ("tuple", "Size", "immutable_tuple"):
        return {"tuple": [encode(v) for v in value]}
    if isinstance(value, list):
        return [encode(v) for v in value]
    if isinstance(value, torch.dtype):
        return {"dtype": dtype_name(value)}
    if isinstance(value, torch.memory_format):
        return {"memory_format": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": "cpu"}
    if value is torch.strided:
        return {"layout": "strided"}
    raise BadInput(f"the graph holds a {type(value).__name__}, which cannot be stored")


def decode(data: Any, nodes: Mapping[str, fx.Node], where: str, depth: int = 0) -> Any:
    """The argument that `encode` wrote; `nodes` are those that may be named at this place."""
    if depth > MAX_DEPTH:
        raise BadCheckpoint(f"{where} nests deeper than {MAX_DEPTH} levels")
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, int):
        return integer(data, where)
    if isinstance(data, float):
        if not math.isfinite(data):
            raise BadCheckpoint(f"{where} holds a bare {data}")
        return data
    if isinstance(data, str):
        return text(data, where)
    if isinstance(data, list):
        return [decode(v, nodes, where, depth + 1) for v in items(data, where, MAX_LIST)]
    return _decode_tagged(data, nodes, where, depth)


def _decode_tagged(data: Any, nodes: Mapping[str, fx.Node], where: str, depth: int) -> Any:
    if not isinstance(data, dict) or len(data) != 1:
        raise BadCheckpoint(f"{where} holds {show(data)}, which is no argument")
    ((tag, value),) = data.items()
    if tag == "node":
        if not isinstance(value, str) or value not in nodes:
            raise BadCheckpoint(f"{where} names {show(value)}, which no node before it is called")
        return nodes[value]
    if tag == "tuple":
        return tuple(decode(v, nodes, where, depth + 1) for v in items(value, where, MAX_LIST))
    if tag == "float":
        return _choice(value, FLOATS, where, "float")
    if tag == "dtype":
        return read_dtype(value, where)
    if tag == "memory_format":
        return _choice(value, MEMORY_FORMATS, where, "memory format")
    if tag == "layout":
        return _choice(value, {"strided": torch.strided}, where, "layout")
    if tag == "device":
        return _choice(value, {"cpu": torch.device("cpu")}, where, "device")
    raise BadCheckpoint(f"{where} holds an unknown kind of argument, {show(tag)}")


def _choice(data: Any, table: Mapping[str, Any], where: str, what: str) -> Any:
    if not isinstance(data, str) or data not in table:
        raise BadCheckpoint(f"{where} names an unknown {what}, {show(data)}")
    return table[data]


def encode_structure(spec: pytree.TreeSpec) -> Any:
    """A pytree of dicts, lists, tuples and namedtuples as plain data, a leaf as None.

    Of a class of the user's own what is like it without its code: a namedtuple of the fields, a
    dict of the items. Raises `BadInput` for other containers.
    """
    return _encode_tree(pytree.tree_unflatten([LEAF] * spec.num_leaves, spec))


def _encode_tree(tree: Any) -> Any:
    if tree is LEAF:
        return None
    if tree is None:
        return {"none": []}
    if isinstance(tree, Constant):
        try:  # nothing is written that would not be read
            _decode_constant([tree.value], "an output")
        except BadCheckpoint as error:
            raise BadInput(f"{error}, which cannot be stored") from None
        return {"constant": [tree.value]}
    if isinstance(tree, Record):
        return _encode_record(tree)
    if is_named(tree):
        fields = [[f, _encode_tree(v)] for f, v in zip(tree._fields, tree, strict=True)]
        return {"namedtuple": [type(tree).__name__, fields]}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [_encode_tree(v) for v in tree]}
    if type(tree) in (dict, OrderedDict):
        kind = "dict" if type(tree) is dict else "ordered_dict"
        return {kind: [[_encode_key(k), _encode_tree(v)] for k, v in tree.items()]}
    raise BadInput(
        f"the network returns a {type(tree).__name__}, which cannot be stored; "
        "return tensors in dicts, lists, tuples and namedtuples"
    )


def _encode_record(record: Record) -> Any:
    kind = record.kind
    pairs = list(zip(kind.keys, map(_encode_tree, record.members), strict=True))
    if kind.is_dict:
        return {"dict": [[_encode_key(k), v] for k, v in pairs]}
    if kind.how == "parts":
        raise BadInput(f"the network returns a {kind.type.__name__}, which {ELSEWHERE}")
    require_fields(kind.type.__name__, kind.keys)
    return {"namedtuple": [kind.type.__name__, [list(pair) for pair in pairs]]}


def _encode_key(key: Any) -> Any:
    for part in key if type(key) is tuple else (key,):
        if type(part) not in (str, int, bool, type(None)):
            raise BadInput(f"an output is called {key!r}; name outputs by text or integers")
    return encode(key)


def _decode_key(data: Any, where: str) -> Any:
    """A key: text, an integer, a truth value, None, or a tuple of those."""
    if isinstance(data, dict):
        if set(data) != {"tuple"}:
            raise BadCheckpoint(f"{where} holds {show(data)}, which is no name of an output")
        return tuple(_decode_plain(part, where) for part in items(data["tuple"], where, MAX_LIST))
    return _decode_plain(data, where)


def _decode_plain(data: Any, where: str) -> Any:
    if data is None or isinstance(data, bool):
        return data
    return integer(data, where) if isinstance(data, int) else text(data, where)


def decode_structure(data: Any, where: str) -> pytree.TreeSpec:
    """The pytree that `encode_structure` wrote."""
    return pytree.tree_structure(_decode_tree(data, where, 0))


def _decode_named(parts: list[Any], where: str, depth: int) -> Any:
    """A namedtuple of the stored name and fields: the user's own type needs the user's code."""
    if len(parts) != 2:
        raise BadCheckpoint(f"{where} holds {show(parts)}, expected a name and fields")
    pairs = [items(part, where) for part in items(parts[1], where, MAX_LIST)]
    if any(len(pair) != 2 for pair in pairs):
        raise BadCheckpoint(f"{where} has a namedtuple whose fields are no pairs")
    fields = tuple(text(pair[0], where) for pair in pairs)
    try:
        kind = named(text(parts[0], where), fields)
    except ValueError as error:
        raise BadCheckpoint(f"{where} names an impossible namedtuple: {error}") from None
    return kind(*(_decode_tree(pair[1], where, depth + 1) for pair in pairs))


def _decode_constant(parts: list[Any], where: str) -> Constant:
    (value,) = parts if len(parts) == 1 else (None,)
    if isinstance(value, float) and math.isfinite(value):
        return Constant(value)
    if value is None or isinstance(value, (list, dict, float)):
        raise BadCheckpoint(f"{where} holds {show(parts)}, expected a number or a text")
    return Constant(_decode_plain(value, where))


def _decode_tree(data: Any, where: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadCheckpoint(f"{where} nests deeper than {MAX_DEPTH} levels")
    if data is None:
        return None
    if not isinstance(data, dict) or len(data) != 1:
        raise BadCheckpoint(f"{where} holds {show(data)}, which is no structure")
    ((kind, parts),) = data.items()
    parts = items(parts, where, MAX_LIST)
    if kind == "none" and not parts:
        return Absent()
    if kind == "constant":
        return _decode_constant(parts, where)
    if kind == "namedtuple":
        return _decode_named(parts, where, depth)
    if kind in ("list", "tuple"):
        made = [_decode_tree(v, where, depth + 1) for v in parts]
        return made if kind == "list" else tuple(made)
    if kind not in ("dict", "ordered_dict"):
        raise BadCheckpoint(f"{where} holds an unknown structure, {show(kind)}")
    tree: dict[Any, Any] = {} if kind == "dict" else OrderedDict()
    for part in parts:
        if len(items(part, where)) != 2:
            raise BadCheckpoint(f"{where} holds {show(part)}, expected a name and a structure")
        key = _decode_key(part[0], where)
        if key in tree:
            raise BadCheckpoint(f"{where} names {show(key)} twice")
        tree[key] = _decode_tree(part[1], where, depth + 1)
    return tree
