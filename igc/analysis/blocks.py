"""How much of a block a gate keeps alive: one open channel can need the whole block before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from igc.analysis.cost import cost
from igc.nn.gates import is_open
from igc.program import Program

aten = torch.ops.aten


@dataclass(frozen=True)
class Kept:
    """For one gate: the share of open channels, and of the MACs behind it that they keep alive."""

    open: float
    macs: float


def kept_blocks(program: Program) -> dict[str, dict[str, Kept]]:
    """`Kept` by layer and task, for known gates that select by `where`.

    The MACs counted are those between this gate and the gates before it, in the task's own
    branch. The op that writes the gated channels is cut to the open ones; every op before it is
    needed whole as soon as one channel is open.
    """
    macs = {n.name: n.macs or 0 for n in cost(program).nodes}
    varying = _varying(program)
    selects = {
        (layer, task): _select(program, name, varying)
        for layer, by_task in program.gates.items()
        for task, name in by_task.items()
        if name in program.constants
    }
    stops = {node for node in selects.values() if node is not None}
    found: dict[str, dict[str, Kept]] = {}
    for (layer, task), select in selects.items():
        if select is None:
            continue
        alpha = program.constants[program.gates[layer][task]]
        share = float(is_open(alpha).double().mean())
        direct, deep = _behind(select, stops, macs)
        total = direct + deep
        kept = (direct * share + (deep if share else 0)) / total if total else 0.0
        found.setdefault(layer, {})[task] = Kept(share, kept)
    return found


def warnings(program: Program) -> list[str]:
    """One line where block gates keep far more alive than they open, naming the worst place."""
    found = [
        (kept.macs - kept.open, layer, task, kept)
        for layer, by_task in kept_blocks(program).items()
        for task, kept in by_task.items()
        if kept.open > 0 and kept.macs - kept.open >= 0.4
    ]
    if not found:
        return []
    _, layer, task, kept = max(found, key=lambda row: row[0])
    return [
        f"one open channel keeps a whole block alive: {len(found)} gates keep far more MACs than "
        f"they open; worst is layer '{layer}', task '{task}', with {kept.open:.0%} of its channels "
        f'open and {kept.macs:.0%} of the block\'s MACs kept; gate every layer (at="layer")'
    ]


def _varying(program: Program) -> set[fx.Node]:
    """The nodes that depend on an input."""
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder" or any(n in found for n in node.all_input_nodes):
            found.add(node)
    return found


def _select(program: Program, name: str, varying: set[fx.Node]) -> fx.Node | None:
    """The `where` that the gate of this name decides, if it has one."""
    stack = [n for n in program.graph.nodes if n.op == "get_attr" and n.target == name]
    while stack:
        user: fx.Node
        for user in stack.pop().users:
            if user not in varying:
                stack.append(user)
            elif user.target == aten.where.self:
                return user
    return None


def _behind(select: fx.Node, stops: set[fx.Node], macs: dict[str, int]) -> tuple[int, int]:
    """MACs of the ops that write the gated channels, and of the ops before those."""
    direct = deep = 0
    seen: set[fx.Node] = set()
    branch = select.args[1]
    stack = [(branch, False)] if isinstance(branch, fx.Node) else []
    while stack:
        node, behind = stack.pop()
        if node in seen or node in stops:
            continue
        seen.add(node)
        own = macs.get(node.name, 0)
        direct, deep = (direct, deep + own) if behind else (direct + own, deep)
        stack += [(n, behind or own > 0) for n in node.all_input_nodes]
    return direct, deep
