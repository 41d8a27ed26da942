"""`inspect`: what the gates of a network say, before anything is compiled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from igc.analysis import blocks
from igc.errors import BadInput
from igc.nn.gates import is_open
from igc.program import Program
from igc.program.fixed import fixed_axes

SCHEMA = 1
BAR = 20


@dataclass(frozen=True)
class GateShare:
    """One task's gate on one layer: its channels, and how many of them are open."""

    layer: str
    task: str
    channels: int
    open: int

    @property
    def share(self) -> float:
        """The share of open channels, 0 to 1."""
        return self.open / self.channels


@dataclass(frozen=True)
class Inspection:
    """The open gates by layer and task, each task's mean share in the mixes, and warnings.

    `mixes[layer][task]` is the mean over the channels of softmax(beta); the shares of a layer add
    up to 1. `warnings` tells where gates cannot save what they promise.
    """

    network: str
    gates: tuple[GateShare, ...]
    mixes: dict[str, dict[str, float]]
    warnings: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in declared order."""
        return tuple(dict.fromkeys(g.task for g in self.gates))

    def by_task(self) -> dict[str, float]:
        """Each task's share of open channels over all layers."""
        found = {}
        for task in self.tasks:
            own = [g for g in self.gates if g.task == task]
            found[task] = sum(g.open for g in own) / sum(g.channels for g in own)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, layers and tasks in forward and declared order."""
        layers: dict[str, dict[str, Any]] = {}
        for g in self.gates:
            layers.setdefault(g.layer, {})[g.task] = {
                "channels": g.channels,
                "open": g.open,
                "share": g.share,
            }
        return {
            "schema": SCHEMA,
            "network": self.network,
            "tasks": list(self.tasks),
            "open": self.by_task(),
            "gates": layers,
            "mixes": {layer: dict(by_task) for layer, by_task in self.mixes.items()},
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        layer_width = max(len(g.layer) for g in self.gates)
        task_width = max(len(t) for t in self.tasks)
        lines = [f"{self.network}: open gates by layer and task"]
        before = ""
        for g in self.gates:
            layer, before = ("" if g.layer == before else g.layer), g.layer
            lines.append(
                f"  {layer:<{layer_width}}  {g.task:<{task_width}}  {bar(g.share)} "
                f"{g.share:6.1%}  {g.open} of {g.channels}"
            )
        lines.append("  all layers")
        for task, share in self.by_task().items():
            lines.append(f"  {'':<{layer_width}}  {task:<{task_width}}  {bar(share)} {share:6.1%}")
        if self.mixes:
            lines.append("share of each task in the mixes (what the shared branch reads)")
            for layer, by_task in self.mixes.items():
                for i, (task, share) in enumerate(by_task.items()):
                    name = "" if i else layer
                    lines.append(
                        f"  {name:<{layer_width}}  {task:<{task_width}}  {bar(share)} {share:6.1%}"
                    )
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)


def inspect(network: nn.Module | Program | str | os.PathLike[str]) -> Inspection:
    """The gates of a network: share open by layer and task, and the mixes.

    `network` is what `igc.gate` made or `igc.load` returned, a program, or the path of a file that
    `igc.save` wrote. Raises `BadInput` where its gates are not known (a network that writes its
    gates by hand; it compiles all the same) or where a gate is NaN, naming layer and task.
    """
    name, gates, mixes, program = _read(network)
    if not any(gates.values()):
        raise BadInput(
            f"{name}: its gates are not known by name, or it is compiled already; igc.gate names "
            "them (a network that writes its own gates compiles, but cannot be inspected)"
        )
    shares = tuple(_shares(gates))
    return Inspection(
        network=name,
        gates=shares,
        mixes={layer: _mix(layer, list(gates[layer]), beta) for layer, beta in mixes.items()},
        warnings=_warnings(program),
    )


def _warnings(program: Program | None) -> tuple[str, ...]:
    return () if program is None else (*blocks.warnings(program), *map(str, fixed_axes(program)))


def bar(share: float) -> str:
    """The share as a bar of `BAR` characters."""
    full = round(share * BAR)
    return "█" * full + "·" * (BAR - full)


Gates = dict[str, dict[str, Tensor]]


def _read(
    network: nn.Module | Program | str | os.PathLike[str],
) -> tuple[str, Gates, dict[str, Tensor], Program | None]:
    """The name, the alphas by layer and task, the betas by layer, and the program if known."""
    name = type(network).__name__
    if isinstance(network, (str, os.PathLike)):
        from igc.checkpoint import load_program

        name, network = os.path.basename(os.fspath(network)), load_program(network)
    if not isinstance(network, (Program, nn.Module)):
        raise BadInput(f"inspect: give a network or the path of one, not a {name}")
    program = network if isinstance(network, Program) else getattr(network, "program", None)
    if isinstance(program, Program):
        constants = program.constants
        gates = {
            layer: {task: constants[n] for task, n in by.items() if n in constants}
            for layer, by in program.gates.items()
        }
        mixes = {k: constants[n] for k, n in program.mixes.items() if n in constants}
        return name, gates, mixes, program
    assert isinstance(network, nn.Module)
    return name, *_of_module(network), None


def _of_module(network: nn.Module) -> tuple[Gates, dict[str, Tensor]]:
    """`net.gates[layer][task].alpha` and `net.mixes[layer].beta`, where the module has them."""
    gates = {
        layer: {t: g.alpha.detach() for t, g in _items(by) if isinstance(g.alpha, Tensor)}
        for layer, by in _items(getattr(network, "gates", None))
    }
    mixes = {
        layer: mix.beta.detach()
        for layer, mix in _items(getattr(network, "mixes", None))
        if isinstance(mix.beta, Tensor)
    }
    return gates, {layer: beta for layer, beta in mixes.items() if layer in gates}


def _items(named: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(named, Mapping) or hasattr(named, "items"):
        yield from named.items()


def _shares(gates: Gates) -> Iterator[GateShare]:
    for layer, by_task in gates.items():
        for task, alpha in by_task.items():
            bad = int(alpha.isnan().sum())
            if bad:
                raise BadInput(
                    f"the gate of layer '{layer}', task '{task}' is NaN in {bad} of "
                    f"{alpha.numel()} channels; train it again, with a smaller learning rate"
                )
            opened = int(is_open(alpha).sum())
            yield GateShare(layer, task, alpha.numel(), opened)


def _mix(layer: str, tasks: list[str], beta: Tensor) -> dict[str, float]:
    if bool(beta.isnan().any()):
        raise BadInput(f"the mix of layer '{layer}' is NaN; train it again")
    shares = torch.softmax(beta.double(), dim=1).mean(0)
    return {task: float(share) for task, share in zip(tasks, shares, strict=True)}
