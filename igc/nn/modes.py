"""Two graphs of one backbone, traced in training and in evaluation: where they differ, merged.

`F.dropout(x, p, self.training)` is traced with the value that `self.training` has at that moment.
A constant that differs between the two graphs becomes a choice made at run time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from igc.nn.examples import attribute
from igc.nn.regions import REGION
from igc.nn.trace import PATH, Traced

TRAINING = "training"  # a get_attr node with this target reads the network's own flag


def by_mode(training: bool, in_training: Any, in_evaluation: Any) -> Any:
    """Returns the constant that belongs to the mode."""
    return in_training if training else in_evaluation


def differing_forwards(a: Traced, b: Traced) -> set[str]:
    """Returns the paths of the modules whose own forward differs between the two graphs."""
    in_a, in_b = _ops_by_forward(a.graph), _ops_by_forward(b.graph)
    differing = {path for path in {*in_a, *in_b} if in_a[path] != in_b[path]}
    if differing:
        return differing
    same = _wiring(a.graph) == _wiring(b.graph) and _constants_agree(a, b)
    return set() if same else {""}


def _constants_agree(a: Traced, b: Traced) -> bool:
    """Whether the tensors made while tracing, which fx keeps as attributes, are the same."""
    names = [str(n.target) for n in a.graph.nodes if n.op == "get_attr"]
    pairs = [(attribute(a.root, name), attribute(b.root, name)) for name in names]
    # Without data (on the meta device) there is nothing to tell them apart by.
    return all(x.is_meta or torch.equal(x, y) for x, y in pairs if isinstance(x, Tensor))


def _ops_by_forward(graph: fx.Graph) -> defaultdict[str, list[tuple[str, Any, Any]]]:
    ops: defaultdict[str, list[tuple[str, Any, Any]]] = defaultdict(list)
    for node in graph.nodes:
        ops[node.meta.get(PATH, "")].append((node.op, node.target, node.meta.get(REGION)))
    return ops


def _wiring(graph: fx.Graph) -> list[Any]:
    """Who reads whom, by position; constants count only by being there."""
    place = {node: i for i, node in enumerate(graph.nodes)}

    def position(value: Any) -> int | None:
        return place[value] if isinstance(value, fx.Node) else None

    return [map_aggregate((node.args, node.kwargs), position) for node in graph.nodes]


def merge(training: fx.Graph, evaluation: fx.Graph) -> None:
    """Lets `training` choose by the network's flag where the constants of the two differ."""
    flag: fx.Node | None = None
    for x, y in zip(list(training.nodes), list(evaluation.nodes), strict=True):
        in_evaluation = iter(_leaves(y))
        merged = []
        for value in _leaves(x):
            other = next(in_evaluation)
            if not isinstance(value, fx.Node) and not _equal(value, other):
                flag = flag or _flag(training)
                with training.inserting_before(x):
                    value = training.call_function(by_mode, (flag, value, other))
                value.meta[PATH] = x.meta.get(PATH, "")
            merged.append(value)
        x.args, x.kwargs = _with_leaves(x, merged)


def _leaves(node: fx.Node) -> list[Any]:
    leaves: list[Any] = []
    map_aggregate((node.args, node.kwargs), leaves.append)
    return leaves


def _with_leaves(node: fx.Node, leaves: list[Any]) -> Any:
    remaining = iter(leaves)
    return map_aggregate((node.args, node.kwargs), lambda _: next(remaining))


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _flag(graph: fx.Graph) -> fx.Node:
    with graph.inserting_before(next(n for n in graph.nodes if n.op != "placeholder")):
        node = graph.get_attr(TRAINING)
    node.meta[PATH] = ""
    return node
