"""The gated network: an ordinary trainable module made of branches, gates, mixes and heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn.asked import Demand, demand
from igc.nn.both_modes import Modes
from igc.nn.branches import make_branch
from igc.nn.gate_points import Point
from igc.nn.gates import Gate
from igc.nn.graph_code import by_training, function_of, graph_of, lines_of
from igc.nn.load import Part, load_strictly, split_head, without_wrappers
from igc.nn.mix import Mix
from igc.nn.named import Named, safe_keys
from igc.nn.replicate import SHARED, Keys, Replication


class GatedNetwork(nn.Module):
    """T task branches and one shared branch, joined by gates and mixes; `igc.gate` makes it.

    Takes the backbone's inputs; returns a dict: task -> output of its head, in declared order.

        net.tasks                  the tasks' names, in declared order
        net.gates[layer][task]     the Gate of a task behind a layer; layers in forward order
        net.mixes[layer]           the Mix behind it; a layer that the shared branch does not
                                   read on (the last one) has none
        net.branches[task]         a task's weights; net.branches["shared"]: the shared branch's
        net.heads[task]            a task's head, the module that was given
        net.graph, net.code        what forward does: a torch.fx graph, and as Python source
        net.training_graph         what it does in training, where that has other ops; else None

    state_dict keys, where in layers and tasks any character but letters, digits and `_` is
    replaced (see `safe_keys`), and the backbone's own paths are kept inside a branch:

        branches.shared.layer1.0.conv1.weight      gates.layer1_0.seg.alpha      [C]
        branches.seg.layer1.0.conv1.weight         mixes.layer1_0.beta           [C, T]
        heads.seg.weight

    Every forward pass uses every parameter and changes no attribute: it is safe for
    DistributedDataParallel.
    """

    def __init__(
        self,
        modes: Modes,
        heads: Mapping[str, nn.Module],
        init: float,
        wanted: Sequence[Demand] = (),
    ) -> None:
        super().__init__()
        self.tasks = tuple(heads)
        root, points = modes.training.root, modes.points
        plan = Replication(modes.training.graph, points, self.tasks)
        plans = [plan]
        if modes.evaluation is not modes.training:
            other = Replication(modes.evaluation.graph, modes.evaluation_points, self.tasks)
            plans = [plan, other]
        branches = safe_keys((SHARED, *self.tasks))
        layers = safe_keys(point.layer for point in points)

        def gates(point: Point) -> Named[Gate]:
            return Named({t: Gate(point.channels, point.axis, init) for t in self.tasks}, branches)

        def mix(point: Point) -> Mix:
            return Mix(point.channels, len(self.tasks), point.axis)

        def read(place: int) -> bool:
            """Whether the shared branch reads on behind the gate point, in either mode."""
            return any(plan.is_mixed(place) for plan in plans)

        nodes = {b: [node for plan in plans for node in plan.nodes_of(b)] for b in branches}
        copies = {b: make_branch(root, nodes[b]) for b in branches}
        self.branches = Named(copies, branches)
        self.gates = Named({p.layer: gates(p) for p in points}, layers)
        self.mixes = Named({p.layer: mix(p) for i, p in enumerate(points) if read(i)}, layers)
        _join(root, self.gates, self.mixes)
        self.heads = Named(heads, branches)
        graphs = [each.build(Keys(branches, layers)) for each in plans]
        for graph in graphs:
            demand(graph, wanted)
        self.graph = graphs[-1]
        self.training_graph = graphs[0] if len(graphs) > 1 else None
        self._backbone_keys = frozenset(root.state_dict())
        self._bind()

    @property
    def code(self) -> str:
        """The Python source of forward."""
        return self.graph.python_code("self").src

    def load_single_task(self, task: str, state_dict: Mapping[str, Tensor]) -> None:
        """Copies a trained single-task network into the branch of `task`, and its head if given.

        `state_dict` has the backbone's own keys, bare or all under `backbone.`; all of it may stand
        under the prefixes of torch's wrappers (`module.`, `_orig_mod.`). Keys under `head.` go to
        the task's head, which must then be complete. What the backbone has but this branch does
        not use may be there. Raises BadInput for an unknown task and, before anything is copied,
        one that lists every missing, unexpected and mis-shaped key.
        """
        if task not in self.tasks:
            raise BadInput(f"unknown task '{task}': this network has {', '.join(self.tasks)}")
        backbone, head = split_head(self._bare(state_dict), self._backbone_keys)
        parts = [Part(self.branches[task], backbone, self._backbone_keys)]
        if head:
            parts.append(Part(self.heads[task], head, prefix="head."))
        load_strictly(parts, f"the branch of task '{task}'")

    def load_shared(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copies a trained backbone into the shared branch; keys as in `load_single_task`.

        Keys under `head.` are unexpected here: the shared branch has no head.
        """
        backbone, head = split_head(self._bare(state_dict), self._backbone_keys)
        unexpected = {f"head.{key}": value for key, value in head.items()}
        state = {**backbone, **unexpected}
        load_strictly(
            [Part(self.branches[SHARED], state, self._backbone_keys)], "the shared branch"
        )

    def gate_parameters(self) -> list[nn.Parameter]:
        """Returns every alpha and beta: the parameters for the gates' own optimiser."""
        return [*self.gates.parameters(), *self.mixes.parameters()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Returns every other parameter: those of the branches and the heads."""
        return [*self.branches.parameters(), *self.heads.parameters()]

    def _bare(self, state: Any) -> Mapping[str, Any]:
        return without_wrappers(_mapping(state), self._backbone_keys)

    def _bind(self) -> None:
        """Compiles the graph into forward, in a class of its own: there torch.fx looks for it."""
        forward = function_of(self.graph)
        if self.training_graph is not None:
            forward = by_training(function_of(self.training_graph), forward)
        self.__class__ = type("GatedNetwork", (GatedNetwork,), {"forward": forward})

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles by state alone; the copy compiles its graph anew."""
        lines = {name: lines_of(graph) for name, graph in self._graphs()}
        return _blank, (), {**self.__dict__, **lines}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"training_graph": None, **state})
        for name, lines in self._graphs():
            self.__dict__[name] = graph_of(lines)
        self._bind()

    def _graphs(self) -> list[tuple[str, Any]]:
        named = {name: self.__dict__[name] for name in ("graph", "training_graph")}
        return [(name, graph) for name, graph in named.items() if graph is not None]


def _join(backbone: nn.Module, *parts: nn.Module) -> None:
    """Moves `parts` to the backbone's device, and to its type if that is a floating one.

    A float32 mix in a bfloat16 network would make float32 features, which no layer there takes.
    """
    like = next((p for p in backbone.parameters() if p.is_floating_point()), None)
    if like is not None:
        for part in parts:
            part.to(like)


def _blank() -> GatedNetwork:
    return GatedNetwork.__new__(GatedNetwork)


def _mapping(state: Any) -> Mapping[str, Any]:
    if not isinstance(state, Mapping):
        raise BadInput(f"expected a state_dict, got {type(state).__name__}")
    return state
