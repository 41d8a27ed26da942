"""What a program costs for one input: MACs, parameters, bytes and the activation peak.

Every figure is attributed to the outputs (tasks) that need it: a node, or a constant, belongs to
the set of outputs that can be reached from it. MACs are those of `igc.ops.macs`, at batch 1.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import fx
from torch.utils import _pytree as pytree

from igc.analysis.demand import demand
from igc.analysis.layers import layers, owner
from igc.analysis.lifetimes import Lifetimes
from igc.analysis.routes import routes_of
from igc.ops.facts import Facts
from igc.ops.macs import op_macs
from igc.program import Program
from igc.program.schema import argument, op_name
from igc.program.shapes import Value, shapes, single

Tasks = tuple[str, ...]
Key = TypeVar("Key", bound=Hashable)

aten = torch.ops.aten
NORMS = ("batch_norm", "instance_norm")
RUNNING = ("running_mean", "running_var")  # what they hold are buffers and not parameters


@dataclass(frozen=True)
class NodeCost:
    """One op: its MACs (None where igc does not know) and the outputs that need it."""

    name: str
    op: str
    layer: str
    macs: int | None
    tasks: Tasks


@dataclass(frozen=True)
class ConstantCost:
    """One constant, counted once however often it is read."""

    name: str
    layer: str
    elements: int
    bytes: int
    parameter: bool
    tasks: Tasks


@dataclass(frozen=True)
class Share:
    """MACs, FLOPs (2 x MACs) and parameters of a part of the network."""

    macs: int
    params: int

    @property
    def flops(self) -> int:
        """FLOPs, which are 2 x MACs."""
        return 2 * self.macs


@dataclass(frozen=True)
class Cost:
    """The cost of a program on inputs of `input_shapes` (batch 1 where the batch is dynamic).

    `params` counts the elements of floating constants, `buffers` those of running statistics,
    indices and masks that are not floating. `bytes` is both, in the program's precision.
    `peak_bytes` is the largest total of the values alive at once, in the order of execution,
    inputs included and constants not (None where shapes are not known). `uncounted` names ops
    whose MACs igc does not know.
    """

    input_shapes: tuple[tuple[int, ...], ...]
    outputs: Tasks
    nodes: tuple[NodeCost, ...]
    constants: tuple[ConstantCost, ...]
    peak_bytes: int | None

    @property
    def macs(self) -> int:
        """Multiply-adds, of the ops that igc can count."""
        return sum(n.macs or 0 for n in self.nodes)

    @property
    def flops(self) -> int:
        """FLOPs, which are 2 x MACs."""
        return 2 * self.macs

    @property
    def params(self) -> int:
        """Elements of the parameters, each constant once."""
        return sum(c.elements for c in self.constants if c.parameter)

    @property
    def buffers(self) -> int:
        """Elements of constants that are no parameters."""
        return sum(c.elements for c in self.constants if not c.parameter)

    @property
    def bytes(self) -> int:
        """Bytes of all constants."""
        return sum(c.bytes for c in self.constants)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Ops whose MACs are not known, as `op in layer`."""
        return tuple(dict.fromkeys(f"{n.op} in {n.layer}" for n in self.nodes if n.macs is None))

    def by_tasks(self) -> dict[Tasks, Share]:
        """Cost by the exact set of outputs that need it; the shares add up to the total."""
        return self._grouped(lambda item: item.tasks)

    def by_layer(self) -> dict[str, Share]:
        """Cost by layer, in order of first use; the shares add up to the total."""
        return self._grouped(lambda item: item.layer)

    def _grouped(self, key: Callable[[NodeCost | ConstantCost], Key]) -> dict[Key, Share]:
        macs: dict[Key, int] = {}
        params: dict[Key, int] = {}
        for node in self.nodes:
            macs[key(node)] = macs.get(key(node), 0) + (node.macs or 0)
        for constant in self.constants:
            if constant.parameter:
                params[key(constant)] = params.get(key(constant), 0) + constant.elements
        keys = dict.fromkeys((*macs, *params))
        return {k: Share(macs.get(k, 0), params.get(k, 0)) for k in keys}


def cost(program: Program) -> Cost:
    """The cost of `program`, from shapes alone: nothing is computed."""
    sizes = single(program)
    facts = shapes(program, sizes)
    needed = reaches(program)
    layer = {n: found or n.name for n, found in layers(program).items()}
    return Cost(
        input_shapes=tuple(spec.shape(sizes) for spec in program.inputs),
        outputs=program.outputs,
        nodes=tuple(
            _node(node, facts, layer[node], needed[node])
            for node in program.graph.nodes
            if node.op == "call_function"
        ),
        constants=_constants(program, layer, needed),
        peak_bytes=Lifetimes.of(program, facts).peak(list(program.graph.nodes)),
    )


def reaches(program: Program) -> dict[fx.Node, Tasks]:
    """For every node the outputs that need it, in declared order."""
    order = [n for n in program.graph.nodes if n.op != "output"]
    facts = Facts.of(program)
    found = demand(order, {n: routes_of(n, facts) for n in order}, program.output_nodes)
    return {n: tuple(program.outputs[i] for i in sorted(found[n])) for n in order}


def _node(node: fx.Node, facts: dict[fx.Node, Value], layer: str, tasks: Tasks) -> NodeCost:
    args = pytree.tree_map(lambda a: facts[a] if isinstance(a, fx.Node) else a, _positional(node))
    value = facts[node]
    result: Any = value.many or (() if value.shape is None else value)
    macs = op_macs(node.target, args, result)
    return NodeCost(node.name, str(node.target), layer, macs, tasks)


def _positional(node: fx.Node) -> list[Any]:
    """The arguments in the order of the schema, keyword arguments in their places."""
    schema = getattr(node.target, "_schema", None)
    found = list(node.args)
    if schema is not None and node.kwargs:
        for argument in schema.arguments[len(found) :]:
            found.append(node.kwargs.get(argument.name, argument.default_value))
    return found


def _constants(
    program: Program, layer: dict[fx.Node, str], needed: dict[fx.Node, Tasks]
) -> tuple[ConstantCost, ...]:
    readers: dict[str, list[fx.Node]] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            readers.setdefault(str(node.target), []).append(node)
    found = []
    for name, nodes in readers.items():
        value = program.constants[name]
        width = program.kind(name).itemsize
        users = [user for node in nodes for user in node.users if user.op == "call_function"]
        tasks = {task for node in nodes for task in needed[node]}
        found.append(
            ConstantCost(
                name=name,
                layer=layer[users[0]] if users else owner(name) or name,
                elements=value.numel(),
                bytes=value.numel() * width,
                parameter=value.is_floating_point() and not _all_running(nodes),
                tasks=tuple(t for t in program.outputs if t in tasks),
            )
        )
    return tuple(found)


def _all_running(nodes: Iterable[fx.Node]) -> bool:
    """Whether every use of the constant is as a running statistic."""
    uses = [(user, node) for node in nodes for user in node.users]
    return bool(uses) and all(
        op_name(user) in NORMS and node in [argument(user, name) for name in RUNNING]
        for user, node in uses
    )
