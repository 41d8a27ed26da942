"""Networks on other devices than the CPU: igc compiles on the CPU and gives back what it was given.

Programs hold their constants on the CPU, whatever device the network is on; only modules (the
gated one, the static one) live elsewhere. Tensors on the meta device have no values to move and
are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from igc.program.program import Program
from igc.program.rebuild import with_arguments

CPU = torch.device("cpu")
STAY = ("cpu", "meta")


def device_of(module: nn.Module) -> torch.device:
    """Where the first parameter or buffer of a module is; the CPU where it has none."""
    return next((t.device for t in (*module.parameters(), *module.buffers())), CPU)


def beside(module: nn.Module, inputs: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The inputs on the device of the module, where that is one that computes."""
    device = device_of(module)
    return tuple(x if device.type == "meta" or x.is_meta else x.to(device) for x in inputs)


def on_cpu(program: Program) -> Program:
    """The program with constants and device arguments on the CPU; itself where they are."""
    away = [t for t in program.constants.values() if t.device.type not in STAY]
    named = any(_names_another(n) for n in program.graph.nodes)
    return placed(program, CPU) if away or named else program


def placed(program: Program, device: torch.device) -> Program:
    """The program with its constants on `device`; tensors of one memory share their copy."""
    moved: dict[tuple[Any, ...], Tensor] = {}

    def move(value: Tensor) -> Tensor:
        if value.device == device or value.is_meta:
            return value
        at = value.untyped_storage().data_ptr() or id(value)
        key = (at, value.storage_offset(), value.shape, value.stride(), value.dtype)
        if key not in moved:
            moved[key] = value.to(device)
        return moved[key]

    named = with_arguments(program, lambda a: device if isinstance(a, torch.device) else a)
    return replace(named, constants={k: move(v) for k, v in named.constants.items()})


def _names_another(node: fx.Node) -> bool:
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    return any(isinstance(a, torch.device) and a.type not in STAY for a in leaves)
