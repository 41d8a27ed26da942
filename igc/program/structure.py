"""The structure that a network returns its tensors in, as a `torch.utils._pytree` spec.

A spec of igc has one leaf per tensor. Where a network returns None (an auxiliary output that is
off in evaluation mode), the spec holds an `Absent`, a container without leaves that is put back as
None by `tree_unflatten`, so that nothing else has to know of it. A number or text that it returns
is a `Constant`, without leaves as well, and an object of a class of its own is a `Record`; both are
put back as such, and `igc.program.returned.finished` makes of them what the network returns.
"""

from __future__ import annotations

import keyword
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

from torch.utils import _pytree as pytree

from igc.errors import BadInput

#: Of an object that no file can hold in any likeness.
ELSEWHERE = (
    "needs the code of its class and cannot be written to a file; return a dict, a namedtuple or a "
    "dataclass there"
)


class Absent:
    """Stands for a None in a structure."""


pytree.register_pytree_node(
    Absent, lambda _: ([], None), lambda _, __: cast("Any", None), serialized_type_name="igc.Absent"
)


@dataclass(frozen=True)
class Constant:
    """A number, text or truth value that a network returns beside its tensors."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


@dataclass(frozen=True)
class Kind:
    """A class that a network returns, and how an object of it is made.

    `how`: of its "fields" by keyword, of a dict of its "items", or of its "parts" as torch has been
    told (`torch.utils._pytree.register_pytree_node`, whose `context` it is). `keys` name them.
    """

    type: type[Any]
    how: Literal["fields", "items", "parts"]
    keys: tuple[Any, ...]
    context: Any = None

    @property
    def is_dict(self) -> bool:
        """Whether it is written as a dict of items."""
        return issubclass(self.type, dict) and self.how != "fields"


@dataclass
class Record:
    """An object of a class of the user's own: its kind, and its members in order."""

    kind: Kind
    members: list[Any]


pytree.register_pytree_node(
    Constant, lambda c: ([], c), lambda _, c: c, serialized_type_name="igc.Constant",
    flatten_with_keys_fn=lambda c: ([], c),
)  # fmt: skip
pytree.register_pytree_node(
    Record, lambda r: (list(r.members), r.kind), lambda members, kind: Record(kind, list(members)),
    serialized_type_name="igc.Record",
    flatten_with_keys_fn=lambda r: (
        [(pytree.MappingKey(k), v) for k, v in zip(r.kind.keys, r.members, strict=True)], r.kind
    ),
)  # fmt: skip


def without_none(spec: pytree.TreeSpec, leaves: Sequence[Any]) -> pytree.TreeSpec:
    """The spec with an `Absent` for every leaf that is None in `leaves`."""
    if all(leaf is not None for leaf in leaves):
        return spec
    marked = [Absent() if leaf is None else 0 for leaf in leaves]
    return pytree.tree_structure(pytree.tree_unflatten(marked, spec))


def is_named(value: Any) -> bool:
    """Whether a value is a namedtuple (of `collections` or `typing`)."""
    return bool(pytree.is_namedtuple_instance(value))


@lru_cache(maxsize=1024)
def named(name: str, fields: tuple[str, ...]) -> type[Any]:
    """A namedtuple type, the same one for the same name and fields.

    Raises `ValueError` for a name that is no plain identifier; fields may not start with an
    underscore, as `collections.namedtuple` has it.
    """
    for text in (name, *fields):
        if not text.isidentifier() or not text.isascii() or keyword.iskeyword(text):
            raise ValueError(f"{text!r} is not a plain name")
    return cast("type[Any]", namedtuple(name, fields))


def require_fields(name: str, fields: Sequence[str]) -> None:
    """Raises `BadInput` where a class has fields that no namedtuple of its name can have."""
    try:
        named(name, tuple(fields))
    except ValueError as error:
        raise BadInput(f"the network returns a {name}, which {ELSEWHERE} ({error})") from None
