"""Backbone graph + gate points -> the graph of the gated network.

Every node of the backbone exists once per branch, *if anybody reads it*. Whoever reads a gate
point reads the gated value instead:

    task branch t        phi'_t = gate_t(phi_t, psi)
    shared branch        psi'   = mix(phi'_1, ..., phi'_T)

What nobody reads is not built: the last mix, and the shared branch behind the last gate point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from igc.nn.dependents import per_branch
from igc.nn.gate_points import Point
from igc.nn.hooks import HOOKS
from igc.nn.regions import copy_in_region

SHARED = "shared"


@dataclass(frozen=True)
class Keys:
    """State_dict keys by name: of the branches (the tasks and `shared`) and of the layers."""

    branches: Mapping[str, str]
    layers: Mapping[str, str]


class Replication:
    """The plan of one gated network: which values are wanted, then the graph that computes them.

    `computed`: (branch, node) for every node of the backbone that a branch has for itself;
    `gated`: (task, node) for every gate; `mixed`: the gate points that the shared branch reads.
    """

    def __init__(self, source: fx.Graph, points: Sequence[Point], tasks: Sequence[str]) -> None:
        self.source = source
        self.tasks = tuple(tasks)
        self.points = {point.node: point for point in points}
        self.output = next(node for node in source.nodes if node.op == "output")
        self.own = per_branch(source)
        self.common: set[fx.Node] = set()
        self.computed: set[tuple[str, fx.Node]] = set()
        self.gated: set[tuple[str, fx.Node]] = set()
        self.mixed: set[fx.Node] = set()
        self._want([(task, node) for task in self.tasks for node in self.output.all_input_nodes])

    def nodes_of(self, branch: str) -> list[fx.Node]:
        """Returns the backbone's nodes that `branch` computes, in order."""
        return [node for node in self.source.nodes if (branch, node) in self.computed]

    def is_mixed(self, place: int) -> bool:
        """Whether the shared branch reads the gate point of that place in the order given."""
        return list(self.points)[place] in self.mixed

    def _want(self, pending: list[tuple[str, fx.Node]]) -> None:
        """Marks what the readers in `pending`, pairs (branch, node it reads), need."""
        while pending:
            branch, node = pending.pop()
            if node not in self.own:
                if node not in self.common:
                    self.common.add(node)
                    pending += [(branch, n) for n in node.all_input_nodes]
            elif node not in self.points:
                pending += self._compute(branch, node)
            elif branch != SHARED:
                self.gated.add((branch, node))
                pending += self._compute(branch, node) + self._compute(SHARED, node)
            elif node not in self.mixed:
                self.mixed.add(node)
                pending += [(task, node) for task in self.tasks]

    def _compute(self, branch: str, node: fx.Node) -> list[tuple[str, fx.Node]]:
        """Marks `node` as computed in `branch`; the first time, returns what it reads there."""
        if (branch, node) in self.computed:
            return []
        self.computed.add((branch, node))
        return [(branch, n) for n in node.all_input_nodes]

    def build(self, keys: Keys) -> fx.Graph:
        """Returns the graph of the gated network; its output is a dict task -> head output."""
        graph = fx.Graph()
        views: dict[str, dict[fx.Node, fx.Node]] = {b: {} for b in (SHARED, *self.tasks)}
        for node in self.source.nodes:
            if node in self.common or node.op == "placeholder":
                copy = _copy(graph, node, "", views[SHARED])
                for view in views.values():
                    view[node] = copy
            for branch, view in views.items():
                if (branch, node) in self.computed:
                    view[node] = _copy(graph, node, keys.branches[branch], view)
            if node in self.points:
                self._gate(graph, self.points[node], keys, views)
        outputs = {}
        for task in self.tasks:
            features = fx.map_arg(self.output.args[0], views[task].__getitem__)
            outputs[task] = graph.call_module(f"heads.{keys.branches[task]}", (features,))
        graph.output(outputs)
        graph.lint()
        return graph

    def _gate(
        self, graph: fx.Graph, point: Point, keys: Keys, views: dict[str, dict[fx.Node, fx.Node]]
    ) -> None:
        """Puts the gates and the mix behind `point`: every view now sees their values."""
        layer, node = keys.layers[point.layer], point.node
        for task in self.tasks:
            read = (views[task][node], views[SHARED][node])
            views[task][node] = graph.call_module(f"gates.{layer}.{keys.branches[task]}", read)
        if node in self.mixed:
            gated = [views[task][node] for task in self.tasks]
            views[SHARED][node] = graph.call_module(f"mixes.{layer}", (gated,))


def _copy(graph: fx.Graph, node: fx.Node, branch: str, view: dict[fx.Node, fx.Node]) -> fx.Node:
    """Appends a copy of `node`, in its regions and with its hooks, for `branch` ("": for all)."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), view.__getitem__)
    own = branch and node.op in ("call_module", "get_attr")
    target: Any = f"branches.{branch}.{node.target}" if own else node.target
    name = f"{branch}_{node.name}" if branch else node.name
    copy = copy_in_region(graph, node, target, args, kwargs, name)
    for hook in node.meta.get(HOOKS, ()):
        copy = graph.call_function(hook, (copy,))
    return copy
