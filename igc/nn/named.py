"""Submodules under any name: the real name to look up, a safe one in state_dict keys."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar, cast

from torch import nn

M = TypeVar("M", bound=nn.Module)


class Named(nn.Module, Generic[M]):
    """Modules by name, in the order given; like `nn.ModuleDict`, but every name will do.

    `nn.ModuleDict` refuses dots and names such as "keys" or "type". Here a module is looked up by
    its real name, `net.gates["layer1.0"]`, and its state_dict prefix is the safe key that
    `safe_keys` makes of the name, `layer1_0`; the safe key is accepted for looking up too.
    """

    def __init__(self, modules: Mapping[str, M], keys: Mapping[str, str]) -> None:
        super().__init__()
        self._key_of = {name: keys[name] for name in modules}
        for name, module in modules.items():
            self.add_module(keys[name], module)

    def __getitem__(self, name: str) -> M:
        return cast(M, self._modules[self._key_of.get(name, name)])

    def __contains__(self, name: object) -> bool:
        return name in self._key_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._key_of)

    def __len__(self) -> int:
        return len(self._key_of)

    def keys(self) -> list[str]:
        """The real names."""
        return list(self)

    def values(self) -> list[M]:
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, M]]:
        return [(name, self[name]) for name in self]


RESERVED = frozenset(dir(Named({}, {})))


def safe_keys(names: Iterable[str]) -> dict[str, str]:
    """Returns name -> key: free of dots, all different, the name itself wherever it can be kept.

    Characters other than letters, digits and `_` become `_`, those outside ASCII their code point
    (`uXXXX`). A Python keyword or an attribute of every module ("train") gets a `_` at the end,
    a key already given `_2`, `_3` ...
    """
    key_of: dict[str, str] = {}
    for name in names:
        key = re.sub(r"[^\x00-\x7f]", lambda match: f"u{ord(match[0]):04x}", name)
        key = re.sub(r"\W", "_", key) or "_"
        key = f"{key}_" if keyword.iskeyword(key) or key in RESERVED else key
        key_of[name] = unique(key, set(key_of.values()))
    return key_of


def unique(name: str, used: set[str]) -> str:
    """Returns `name`, or the first of `name_2`, `name_3` ... that is not in `used`."""
    candidate, count = name, 1
    while candidate in used:
        count += 1
        candidate = f"{name}_{count}"
    return candidate
