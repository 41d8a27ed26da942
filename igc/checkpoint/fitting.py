"""Weights into a network: strictly, with the spellings that torch itself takes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from igc.checkpoint.inert import Items
from igc.checkpoint.names import Fit, fitting_part, renamed
from igc.checkpoint.weights import Weights, read_weights
from igc.errors import BadCheckpoint, one_line

SHOWN = 8
_COUNTED = "num_batches_tracked"  # older batch norms have none, and evaluation reads none
_ONE_OF_SEVERAL = re.compile(r"-\d{5}-of-\d{5}\.")


def load_into(
    module: nn.Module, path: str | os.PathLike[str], key: str | None = None
) -> tuple[str, ...]:
    """Loads a weight file into `module`, strictly: every key once, every shape the same.

    Names may differ by one beginning that all of them share, and by what the layers themselves
    read in an older spelling: batch norms without their count, weight norms. `key` chooses a part
    of the file, as in `read_weights`. Returns what the user should know, one line each. Raises
    `BadCheckpoint` with missing, unexpected and mis-shaped keys listed, eight of each; the module
    then keeps the tensors it had.
    """
    weights = read_weights(path, key)
    wanted = _tensors(module)
    fit = Fit(weights.tensors, wanted)
    given = renamed(weights.tensors, fit.tensor)
    kept = {} if _fits(given, wanted) else {name: v.clone() for name, v in wanted.items()}
    state = Items(given)
    modules = (name for name, _ in module.named_modules(remove_duplicate=False))
    state._metadata = fit.versions(weights.versions, modules) or None
    try:
        left = module.load_state_dict(state, strict=False)  # only tensors count, see `_problems`
        told = _problems(module, given, left.missing_keys, left.unexpected_keys)
    except Exception as error:  # a shape, or whatever the hooks of a layer say
        missing = [name for name in wanted if name not in given]
        told = _problems(module, given, missing, [n for n in given if n not in wanted], wanted)
        told = told or one_line(error, 200)
    if told:
        _restore(module, kept)
        told += _hint(Path(path), weights, wanted)
        raise BadCheckpoint(f"{Path(path)} does not fit {type(module).__name__}: {told}")
    return weights.notes


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}


def _fits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return given.keys() == wanted.keys() and all(given[k].shape == wanted[k].shape for k in wanted)


def _restore(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in _tensors(module).items():
            if name in kept and kept[name].shape == tensor.shape:
                tensor.copy_(kept[name])


def _problems(
    module: nn.Module,
    given: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    shapes: Mapping[str, Tensor] | None = None,
) -> str:
    """What keeps the tensors from fitting, empty where nothing does."""
    own = _tensors(module)
    wrong = [
        f"{k} ({_shape(given[k])} in the file, {_shape(tensor)} in the network)"
        for k, tensor in (shapes or {}).items()
        if k in given and given[k].shape != tensor.shape
    ]
    lacking = [k for k in missing if k in own and not _uncounted(k, given)]
    listed = (
        _listing("missing", lacking),
        _listing("unexpected", unexpected),
        _listing("of another shape", wrong),
    )
    return "; ".join(filter(None, listed))


def _uncounted(name: str, given: Mapping[str, Tensor]) -> bool:
    """Whether it is the count of a batch norm whose statistics are there."""
    head, _, leaf = name.rpartition(".")
    return leaf == _COUNTED and f"{head}.running_mean".lstrip(".") in given


def _hint(path: Path, weights: Weights, wanted: Mapping[str, Tensor]) -> str:
    """What to do where the file shows it."""
    part = fitting_part(weights.tensors, wanted)
    if part is not None:
        return f"; the names that begin with {ascii(part)[1:-1][:80]}. fit: choose them with --key"
    if _ONE_OF_SEVERAL.search(path.name):
        return "; it is one file of several: give their .index.json"
    skipped = "; ".join(note for note in weights.notes if note.startswith("skipped"))
    return f"; {skipped}" if skipped else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "scalar"


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = ", ".join(ascii(n)[1:-1][:200] for n in names[:SHOWN])
    return f"{len(names)} {what}: {shown}{more}"
