"""The backbone traced for training and evaluation, where plain tracing would freeze one of them.

Where the two graphs differ in constants alone, they are merged. A module whose ops differ (a
stochastic depth that returns early in evaluation) stays whole, and reads its own `training`.
Where such a module holds layers that may be gated, each mode keeps a graph of its own, if both
have the same gate points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.utils import _pytree as pytree

from igc.errors import BadInput
from igc.nn.copies import copied
from igc.nn.examples import attribute
from igc.nn.gate_points import At, Point, find_points
from igc.nn.in_place import remove_in_place
from igc.nn.layer_kinds import is_weighted
from igc.nn.modes import differing_forwards, merge
from igc.nn.state import changing_modules
from igc.nn.trace import PATH, Traced, trace


@dataclass(frozen=True)
class Modes:
    """The traced backbone in each mode, and its gate points; one object twice where one does."""

    training: Traced
    evaluation: Traced
    points: list[Point]
    evaluation_points: list[Point]


def trace_both_modes(backbone: nn.Module, example_inputs: tuple[Any, ...] | None, at: At) -> Modes:
    """Returns what behaves as `backbone` does in training and in evaluation, and its gate points.

    Its root is a copy of `backbone`. Raises BadInput as `trace` and `find_points` do, for a
    forward whose top level has other gate points or outputs in training than in evaluation, and
    for a module with layers that draws random numbers in Python or changes its own buffers.
    """
    leaves: frozenset[str] = frozenset()
    while True:
        evaluation = trace(copied(backbone).eval(), example_inputs, leaves)
        training = trace(copied(backbone).train(), example_inputs, leaves)
        random = training.random | evaluation.random
        stateful = changing_modules(training) | changing_modules(evaluation)
        differing = random or stateful or differing_forwards(training, evaluation)
        if not differing:
            merge(training.graph, evaluation.graph)
            remove_in_place(training)
            points = find_points(training, at)
            return Modes(training, training, points, points)
        without = {p for p in differing if not _has_layers(training, p)}
        if without:
            leaves |= without
        elif random:
            raise BadInput(_drawn(min(random)))
        elif stateful:
            raise BadInput(_changing(min(stateful)))
        else:
            try:
                return _of_two_graphs(backbone, training, evaluation, at)
            except BadInput:
                if "" in differing:
                    raise
                leaves |= differing


def _has_layers(traced: Traced, path: str) -> bool:
    """Whether convolutions or linear layers stand in the module; the whole backbone counts."""

    def within(inner: str) -> bool:
        return inner == path or inner.startswith(f"{path}.")

    return not path or any(
        is_weighted(traced.root, node) and within(node.meta.get(PATH, ""))
        for node in traced.graph.nodes
    )


def _drawn(path: str) -> str:
    return (
        f"{_who(path)} draws random numbers that no "
        "input has a part in (`random.random()`, `torch.rand(1)`), and tracing would keep them for "
        "good: draw by the input (`torch.rand(x.shape[0], ...)`, `torch.rand_like(x)`), or in a "
        "module of its own without layers"
    )


def _changing(path: str) -> str:
    return (
        f"{_who(path)} changes a buffer or a weight in its forward, and a traced graph keeps no "
        "state: move the tensor and the lines that change it into a module of its own without "
        "layers, which igc.gate keeps whole"
    )


def _who(path: str) -> str:
    return f"module '{path}'" if path else "the backbone's forward"


def _of_two_graphs(backbone: nn.Module, training: Traced, evaluation: Traced, at: At) -> Modes:
    """Returns both graphs over one root; raises BadInput where they differ beyond the ops."""
    _share_root(backbone, training, evaluation)
    found = []
    for traced in (training, evaluation):
        remove_in_place(traced)
        found.append(find_points(traced, at))
    points, others = found
    if _described(training, points) != _described(evaluation, others) or (
        _structure(training.graph) != _structure(evaluation.graph)
    ):
        raise BadInput(
            "the backbone's forward takes different paths in training and in evaluation "
            "(`if self.training: ...`) with other gate points or outputs: give igc.gate a "
            "backbone without auxiliary outputs, or name layers in at= that both have"
        )
    return Modes(training, evaluation, points, others)


def _described(traced: Traced, points: list[Point]) -> list[Any]:
    return [(p.layer, p.node.op, p.node.target, p.channels, p.axis) for p in points]


def _structure(graph: fx.Graph) -> Any:
    output = next(node for node in graph.nodes if node.op == "output")
    return pytree.tree_structure(output.args[0])


def _share_root(backbone: nn.Module, training: Traced, evaluation: Traced) -> None:
    """Gives `evaluation` the root of `training`, with the tensors that its own trace made.

    Both traces count theirs from `_tensor_constant0`: those of evaluation get other names.
    """
    for node in evaluation.graph.nodes:
        name = str(node.target)
        made = name.startswith("_tensor_constant") and not hasattr(backbone, name)
        if node.op == "get_attr" and made:
            node.target = f"evaluation{name}"
            setattr(training.root, node.target, attribute(evaluation.root, name))
    evaluation.root = training.root
