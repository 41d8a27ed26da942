"""`igc audit --rebuild`: is a model, byte for byte, what igc makes of this checkpoint?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .common import load_network, only_results_on_stdout, print_json, require_shapes, say

if TYPE_CHECKING:
    from torch import Tensor

    from igc.rebuild import Rebuilt


def check(
    onnx: Path,
    against: Path,
    model: str | None,
    key: str | None,
    inputs: tuple[Tensor, ...] | None,
    *,
    as_json: bool,
) -> None:
    """Rebuilds, and prints what came of it.

    Exits with 1 where something differs. Raises `BadInput` where other versions of the tools may
    be why.
    """
    with only_results_on_stdout():
        require_shapes(against, model, inputs)
        network = load_network(against, model, key)
        from igc.errors import BadInput
        from igc.rebuild import rebuild

        found = rebuild(onnx, network, against, inputs)
        if not found.comparable:
            raise BadInput(f"{onnx}: not comparable: {_install(found)}; {_first(found)}")
    if as_json:
        print_json(found.to_dict())
    else:
        say(_told(found, against))
    if not found.passed:
        raise typer.Exit(1)


def _told(found: Rebuilt, against: Path) -> str:
    if not found.passed:
        return f"{found.model} is not what igc makes of {against}: {_first(found)}"
    files = "and so is its manifest" if found.manifest else "no manifest lies beside it"
    lines = [
        f"{found.model} is what igc makes of {against}, byte for byte; {files}",
        f"the outputs are {', '.join(found.outputs)}",
    ]
    if found.options:
        told = ", ".join(f"{name} {value}" for name, value in found.options.items())
        lines.append(f"compiled as it says of itself: {told}")
    if found.tools:
        lines.append(f"it came out the same with other versions of the tools: {_versions(found)}")
    return "\n  ".join(lines)


def _first(found: Rebuilt) -> str:
    others = len(found.differences) - 1
    more = f" (and {others} more)" if others else ""
    return f"the first difference: {found.differences[0]}{more}"


def _install(found: Rebuilt) -> str:
    """The versions that differ, and what to do."""
    from igc.errors import show

    tools = {name: version for name, (version, _) in found.tools.items()}
    python = tools.pop("python", None)
    names = {"igc": "igc-compiler"}
    wanted = [show(f"{names.get(n, n)}=={v}") for n, v in tools.items()]
    install = [f"pip install {' '.join(wanted)}"] if wanted else []
    under = [f"Python {show(python)[1:-1]}"] if python is not None else []
    return f"made with {_versions(found)}; rebuild with {' under '.join(install + under)}"


def _versions(found: Rebuilt) -> str:
    from igc.errors import show

    told = [f"{n} {show(old)[1:-1]} (here {here})" for n, (old, here) in found.tools.items()]
    return ", ".join(told)
