"""Which part of a weight file is taken, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from igc.checkpoint.inert import Foreign, Stored
from igc.errors import BadCheckpoint, show

# The usual keys, the first found is taken: the weights of training before their moving averages.
USUAL = (
    "state_dict", "model", "model_state_dict", "params", "net", "network", "module", "generator",
    "ema", "model_ema", "params_ema", "ema_model", "ema_state_dict", "state_dict_ema",
    "model_ema_state_dict",
)  # fmt: skip
SHOWN = 6


def choose(found: dict[Any, Any], key: str | None) -> tuple[dict[Any, Any], list[str]]:
    """The dict of tensors in a file's content, and what a user should know of the choice.

    With a `key`: what lies under it, where it may be a path `a.b`, or the tensors whose names
    begin with it, without that beginning. Without: the first of the usual keys that holds
    tensors, or else the content itself. Raises `BadCheckpoint` where there are none or several.
    """
    if key is None:
        return _usual(found, [])
    part = _under(found, key)
    if part is None:
        part = _under(_usual(found, [])[0], key)
    if part is None:
        raise BadCheckpoint(f"it has no {show(key)}; it holds {names(found)}")
    if isinstance(part, Foreign):
        raise BadCheckpoint(_code(key, part))
    if not isinstance(part, dict):
        raise BadCheckpoint(f"its {show(key)} is a {type(part).__name__}, expected a state_dict")
    return _usual(part, [])


def names(found: Iterable[Any]) -> str:
    """The first keys of a dict, as they may stand in a message."""
    keys = [show(k) for k in found]
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more or "nothing"


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor, or a note of one that lies in the file."""
    return isinstance(value, (Tensor, Stored))


def has_tensors(value: Any) -> bool:
    """Whether it is a dict with a tensor right in it."""
    return isinstance(value, dict) and any(map(is_tensor, value.values()))


def _usual(found: dict[Any, Any], notes: list[str]) -> tuple[dict[Any, Any], list[str]]:
    for _ in range(len(USUAL)):  # a crafted dict may hold itself
        inner = [k for k in USUAL if isinstance(found.get(k), dict)]
        if not inner:
            break
        taken = next((k for k in inner if _holds(found[k])), inner[0])
        others = [k for k, v in found.items() if k != taken and has_tensors(v)]
        if others:
            notes.append(f"{show(taken)} is taken, not {names(others)}; --key chooses another")
        found = found[taken]
        if has_tensors(found):
            return found, notes
    if not has_tensors(found):
        _refuse(found)
    return found, notes


def _holds(value: dict[Any, Any]) -> bool:
    """Whether there are tensors in it, or under a usual key in it."""
    return has_tensors(value) or any(has_tensors(value.get(k)) for k in USUAL)


def _refuse(found: dict[Any, Any]) -> None:
    """Raises where what lies in the dict shows what to do."""
    parts = [k for k, v in found.items() if isinstance(k, str) and has_tensors(v)]
    if parts:
        raise BadCheckpoint(
            f"it has no state_dict under a usual name; tensors lie under {names(parts)}: "
            f"choose with --key {ascii(parts[0])[1:-1][:80]}"
        )
    for key in USUAL:
        if isinstance(found.get(key), Foreign):
            raise BadCheckpoint(_code(key, found[key]))


def _code(key: str, value: Foreign) -> str:
    return (
        f"its {show(key)} is a {show(value)}, which cannot be read without running its code, and "
        "igc never does; where you trust the file, save the state_dict() of that object alone"
    )


def _under(found: dict[Any, Any], key: str) -> Any:
    """What lies under a path, or the tensors whose names begin so; None where nothing does."""
    if key in found:
        return found[key]
    for at, letter in enumerate(key):
        inner = found.get(key[:at]) if letter == "." else None
        below = _under(inner, key[at + 1 :]) if isinstance(inner, dict) else None
        if below is not None:
            return below
    head = f"{key}."
    part = {
        name.removeprefix(head): value
        for name, value in found.items()
        if isinstance(name, str) and name.startswith(head) and is_tensor(value)
    }
    return part or None
