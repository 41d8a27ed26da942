"""From what a user names to the side that runs it: a module, a program, or a file of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike, fspath

from torch import Tensor, nn

from igc.checkpoint import load_program
from igc.emit.compilation import Compilation
from igc.errors import BadInput
from igc.program import Program
from igc.verification.draws import main_draws
from igc.verification.inputs import Inputs, as_tensors
from igc.verification.onnx_side import OnnxSide
from igc.verification.side import Side
from igc.verification.torch_side import TorchSide, module_side

Network = nn.Module | Program | Compilation | str | PathLike[str]

#: Files that a runtime of their own runs, by suffix; any other is what `igc.save` wrote.
RUNTIMES: dict[str, Callable[[str], Side]] = {".onnx": OnnxSide}


def sides(reference: Network, candidate: Network, inputs: Inputs) -> tuple[Side, Side]:
    """Both sides; a module that carries no program is captured with what the other side takes.

    Raises `BadInput` for anything else than a network, and where a file cannot be read.
    """
    given = {"reference": reference, "candidate": candidate}
    known = {role: side for role, network in given.items() if (side := _side(network, role))}
    for role, network in given.items():
        if role not in known:
            assert isinstance(network, nn.Module)
            known[role] = module_side(network, role, _example(known, inputs))
    return known["reference"], known["candidate"]


def _side(network: Network, role: str) -> Side | None:
    """The side of a network, None for a module that has to be captured first."""
    if isinstance(network, Compilation):
        return TorchSide("the static network", network.program, network.static)
    if isinstance(network, Program):
        return TorchSide(f"{role} program", network)
    if isinstance(network, (str, PathLike)):
        return file_side(network, role)
    if not isinstance(network, nn.Module):
        raise BadInput(f"verify: the {role} is a {type(network).__name__}; give a module or a path")
    if isinstance(getattr(network, "program", None), Program):
        return module_side(network, role, None)
    return None


def file_side(path: str | PathLike[str], role: str) -> Side:
    """The network in a file, run by the runtime that its suffix names, or by torch."""
    name = fspath(path)
    for suffix, runtime in RUNTIMES.items():
        if name.lower().endswith(suffix):
            return runtime(name)
    return TorchSide(f"{role} {name}", load_program(name))


def _example(known: dict[str, Side], inputs: Inputs) -> Sequence[Tensor] | None:
    if inputs is not None:
        return as_tensors(inputs)[1]
    for side in known.values():
        return main_draws(side.signature())[0].tensors
    return None
