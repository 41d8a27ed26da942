"""Strict loading: what does not fit is listed in one error, and then nothing is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from igc.errors import BadInput

MOST_LISTED = 10


class Part(NamedTuple):
    """A module, its new state, the keys that this may hold in excess, and the keys' prefix."""

    module: nn.Module
    state: Mapping[str, Any]
    spare: Collection[str] = ()
    prefix: str = ""


WRAPPERS = ("module.", "_orig_mod.")  # of networks in parallel, averaged or compiled
AVERAGED = "n_averaged"  # a count that torch's AveragedModel keeps beside the weights


def without_wrappers(state: Mapping[str, Any], backbone_keys: Collection[str]) -> Mapping[str, Any]:
    """Returns the entries without a prefix that torch's wrappers gave to all of them."""
    for prefix in WRAPPERS:
        keys = [key for key in state if key != AVERAGED or AVERAGED in backbone_keys]
        if keys and all(key.startswith(prefix) and key not in backbone_keys for key in keys):
            bare = {key.removeprefix(prefix): state[key] for key in keys}
            return without_wrappers(bare, backbone_keys)
    return state


def split_head(
    state: Mapping[str, Any], backbone_keys: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (the backbone's entries, the head's entries without their `head.` prefix).

    A key that the backbone has itself is the backbone's, whatever its prefix. When every other
    key starts with `backbone.` (a wrapper with `.backbone` and `.head`), that prefix is dropped.
    """

    def under(prefix: str, key: str) -> bool:
        return key.startswith(prefix) and key not in backbone_keys

    head = {key.removeprefix("head."): v for key, v in state.items() if under("head.", key)}
    rest = {key: v for key, v in state.items() if not under("head.", key)}
    if rest and all(under("backbone.", key) for key in rest):
        rest = {key.removeprefix("backbone."): v for key, v in rest.items()}
    return rest, head


def load_strictly(parts: Collection[Part], what: str) -> None:
    """Copies each state into its module, or raises BadInput and copies nothing.

    The error lists the missing, unexpected and mis-shaped keys; `what` says who was being loaded.
    """
    missing: list[str] = []
    unexpected: list[str] = []
    misshaped: list[str] = []
    for module, state, spare, prefix in parts:
        own = module.state_dict()
        missing += [prefix + key for key in own if key not in state]
        unexpected += [prefix + key for key in state if key not in own and key not in spare]
        misshaped += [
            f"{prefix}{key} {_shape(state[key])} instead of {_shape(own[key])}"
            for key in own
            if key in state and _shape(state[key]) != _shape(own[key])
        ]
    problems = [
        f"{len(keys)} {kind}: {_list(keys)}"
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("mis-shaped", misshaped),
        )
        if keys
    ]
    if problems:
        raise BadInput(f"the state_dict does not fit {what}: {'; '.join(problems)}")
    for part in parts:
        own = part.module.state_dict()
        part.module.load_state_dict({key: part.state[key] for key in own})


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _list(keys: list[str]) -> str:
    more = f" and {len(keys) - MOST_LISTED} more" if len(keys) > MOST_LISTED else ""
    return ", ".join(keys[:MOST_LISTED]) + more
