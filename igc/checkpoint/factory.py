"""The user's own code that builds the network for a plain weight file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from torch import nn

from igc.checkpoint.archive import regular_file
from igc.errors import BadInput, one_line, show


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
