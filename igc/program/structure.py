"""The structure that a network returns its tensors in, as a `torch.utils._pytree` spec.

A spec of igc has one leaf per tensor. Where a network returns None (an auxiliary output that is
off in evaluation mode), the spec holds an `Absent`, a container without leaves that is put back as
None by `tree_unflatten`, so that nothing else has to know of it.
"""

from __future__ import annotations

import keyword
from collections import namedtuple
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from torch.utils import _pytree as pytree


class Absent:
    """Stands for a None in a structure."""


pytree.register_pytree_node(
    Absent, lambda _: ([], None), lambda _, __: cast("Any", None), serialized_type_name="igc.Absent"
)


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
