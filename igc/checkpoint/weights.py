"""Plain weight files, and the user's own code that builds the network for them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from igc.checkpoint.archive import regular_file
from igc.checkpoint.reading import read_archive, state_tensors
from igc.errors import BadCheckpoint, BadInput, one_line, show

WRAPPERS = ("state_dict", "model", "model_state_dict")
SHOWN = 8


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a weight file by name: torch or safetensors, memory-mapped where possible.

    The state_dict may lie bare in the file or under `state_dict`, `model` or `model_state_dict`;
    a `module.` in front of every name is dropped. Raises `BadInput` for a path that cannot be
    read and `BadCheckpoint` for a file that holds anything else.
    """
    file = regular_file(path)
    try:
        found = _safetensors(file) if _is_safetensors(file) else _unwrap(read_archive(file))
        tensors = state_tensors(found)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"cannot load {file}: {error}") from None
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): t for name, t in tensors.items()}
    return tensors


def load_into(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Loads a weight file into `module`, strictly: every key once, every shape the same.

    Raises `BadCheckpoint` with missing, unexpected and mis-shaped keys listed, eight of each;
    the module is then left as it was.
    """
    given = read_state_dict(path)
    wanted = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    problems = [
        _listing("missing", [k for k in wanted if k not in given]),
        _listing("unexpected", [k for k in given if k not in wanted]),
        _listing(
            "of another shape",
            [
                f"{k} ({_shape(given[k])} in the file, {_shape(wanted[k])} in the network)"
                for k in wanted
                if k in given and given[k].shape != wanted[k].shape
            ],
        ),
    ]
    if any(problems):
        listed = "; ".join(filter(None, problems))
        raise BadCheckpoint(f"{Path(path)} does not fit {type(module).__name__}: {listed}")
    module.load_state_dict(given, strict=False)  # keys are checked above, and only tensors count


def build_model(spec: str) -> nn.Module:
    """The network that the user's factory builds; `spec` is FILE.py:factory or pkg.mod:factory.

    This runs the user's own code: never call it with a spec that came out of a checkpoint. The
    factory is called without arguments. Raises `BadInput`, naming file and factory, for whatever
    goes wrong.
    """
    place, _, factory = spec.rpartition(":")
    if not place or not factory.isidentifier():
        raise BadInput(f"--model {show(spec)}: write FILE.py:factory or pkg.mod:factory")
    try:
        module = _import_file(place) if place.endswith(".py") else importlib.import_module(place)
        if not hasattr(module, factory):
            raise BadInput(f"--model {spec}: {place} defines no '{factory}'")
        made: Any = getattr(module, factory)
        network = made if isinstance(made, nn.Module) else made()
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        reason = one_line(error, 200)
        raise BadInput(f"--model {spec}: {type(error).__name__}: {reason}") from error
    if not isinstance(network, nn.Module):
        raise BadInput(f"--model {spec}: it returns a {type(network).__name__}, not an nn.Module")
    return network


def _import_file(place: str) -> Any:
    """The module in that file, which may import its neighbours as if it were run by itself."""
    file = regular_file(place).resolve()
    name = f"igc_model_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadInput(f"--model: {place} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up there
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_safetensors(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"


def _safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = one_line(error, 160, in_ascii=True)
        raise BadCheckpoint(f"it is no proper safetensors file: {reason}") from None


def _unwrap(found: Any) -> Mapping[Any, Any]:
    if not isinstance(found, dict):
        raise BadCheckpoint(f"it holds {show(found)}, expected a state_dict")
    if found.get("format") == "igc":
        raise BadCheckpoint("it holds a whole network; load it without --model")
    for key in WRAPPERS:
        if isinstance(found.get(key), dict):
            inner: Mapping[Any, Any] = found[key]
            return inner
    return found


def _shape(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "scalar"


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = ", ".join(ascii(n)[1:-1][:200] for n in names[:SHOWN])
    return f"{len(names)} {what}: {shown}{more}"
