"""Names of tensors in a file against those of a network: what wrapping a network does to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
DEEPEST = 8  # so many wrappers, or shared beginnings, are looked for

# Names that torch.compile, FSDP and activation checkpointing put in, anywhere; no layer has them.
_WRAPPING = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?:\.|$)"
)
_PARALLEL = "module."  # what DataParallel and AveragedModel put in front of every name
# Two ways in which torch stores a weight norm; it loads the first into the second by itself.
_NORMED = (
    (re.compile(r"(^|\.)parametrizations\.(\w+)\.original0$"), r"\1\2_g"),
    (re.compile(r"(^|\.)parametrizations\.(\w+)\.original1$"), r"\1\2_v"),
)


def unwrapped(tensors: Mapping[str, T]) -> dict[str, T]:
    """The tensors without what a wrapper is sure to have added to the names.

    That is `module.` where every name has it, `_orig_mod.` and the like anywhere, and the count
    `n_averaged` beside `module.`; not where two names would become one.
    """
    found = renamed(tensors, _inner)
    for _ in range(DEEPEST):
        names = [name for name in found if name != "n_averaged"]
        if not names or not all(name.startswith(_PARALLEL) for name in names):
            break
        found = {name.removeprefix(_PARALLEL): found[name] for name in names}
    return found


class Fit:
    """How the names of a file become those of a network.

    A beginning that all names of one side share, and the other side has not, is left out or put
    in front: that which makes the most names the network's own, none where none does.
    """

    def __init__(self, given: Collection[str], wanted: Collection[str]) -> None:
        heads = [("", "")]
        heads += [(head, "") for head in _shared(given)]
        heads += [("", head) for head in _shared(wanted)]
        goal = {_plain(name) for name in wanted}

        def fitting(pair: tuple[str, str]) -> int:
            off, on = pair
            return sum(_plain(on + name.removeprefix(off)) in goal for name in given)

        self.off, self.on = max(heads, key=fitting)  # the first of equals
        self.known = {_inner(name): name for name in wanted}

    def tensor(self, name: str) -> str:
        """The network's name for a tensor of the file, or what is closest to one."""
        moved = self.on + name.removeprefix(self.off)
        return self.known.get(_inner(moved), moved)

    def versions(self, found: Mapping[str, T], modules: Iterable[str]) -> dict[str, T]:
        """What the file says of each of its modules, by the network's paths of modules."""
        known = {_inner(f"{path}."): path for path in modules}
        made = {}
        for path in sorted(found, key=len):  # a wrapper comes before what it wraps
            inner = _inner(f"{path}." if path else "")
            for _ in range(DEEPEST):
                inner = inner.removeprefix(_PARALLEL)
            inner = self.on + inner.removeprefix(self.off)
            if (inner or ".") in known:
                made[known[inner or "."]] = found[path]
        return made


def renamed(tensors: Mapping[str, T], rename: Callable[[str], str]) -> dict[str, T]:
    """The tensors under their new names, or as they were where two names would become one."""
    found = {rename(name): tensor for name, tensor in tensors.items()}
    return found if len(found) == len(tensors) else dict(tensors)


def fitting_part(given: Collection[str], wanted: Collection[str]) -> str | None:
    """A beginning under which the file holds every tensor of the network, beside others."""
    first = min(wanted, key=len, default="")
    names = set(given)
    for name in given:
        head = name.removesuffix(first)
        beginning = first and head != name and head.endswith(".")
        if beginning and all(head + other in names for other in wanted):
            return head[:-1]
    return None


def _inner(name: str) -> str:
    return _WRAPPING.sub("", name)


def _plain(name: str) -> str:
    """The name as it is compared: without wrappers, a weight norm in its older spelling."""
    name = _inner(name)
    for pattern, older in _NORMED:
        name = pattern.sub(older, name)
    return name


def _shared(names: Iterable[str]) -> list[str]:
    """The beginnings that all names share, up to a dot, the shortest first."""
    found = list(names)
    if not found:
        return []
    first, last = min(found).split("."), max(found).split(".")
    most = min(len(first), len(last), DEEPEST + 1) - 1
    count = next((i for i in range(most) if first[i] != last[i]), most)
    return [".".join(first[: i + 1]) + "." for i in range(count)]
