"""A new program, node by node: what every change of a program comes down to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.program.nodes import copy_node
from igc.program.program import Program

Env = dict[fx.Node, Any]
Make = Callable[[fx.Graph, fx.Node, Env], Any]


def rebuild(
    program: Program,
    make: Make,
    constants: Mapping[str, Tensor] | None = None,
    order: Iterable[fx.Node] | None = None,
    keep_unread: bool = False,
) -> Program:
    """The program with what `make(graph, node, env)` returns in the place of each node.

    `graph` is the new graph, `env` holds what stands for the nodes before; None stands for a copy
    of the node over those. What nothing reads any more is dropped, inputs apart, and unless it is
    to be kept. `constants` are the new program's, by default the old one's; `order` is that of the
    old nodes.
    """
    graph, env = fx.Graph(), Env()
    for node in program.graph.nodes if order is None else order:
        made = make(graph, node, env)
        env[node] = copy_node(graph, node, env.__getitem__) if made is None else made
    if not keep_unread:
        drop_unread(graph)
    return program.with_graph(graph, dict(program.constants if constants is None else constants))


def with_arguments(program: Program, change: Callable[[Any], Any]) -> Program:
    """The program with `change` applied to every plain argument of every call."""

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        if node.op != "call_function":
            return None
        new = copy_node(graph, node, env.__getitem__)
        new.args, new.kwargs = pytree.tree_map(
            lambda a: a if isinstance(a, fx.Node) else change(a), (new.args, new.kwargs)
        )
        return new

    return rebuild(program, make)


def with_outputs(program: Program, names: Iterable[str], spec: pytree.TreeSpec) -> Program:
    """The program that returns only the outputs of these names, in this order, as `spec` says.

    What the others alone read is still there: it belongs to the network as it was given.
    """
    kept = tuple(names)
    nodes = dict(zip(program.outputs, program.output_nodes, strict=True))

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        return graph.output([env[nodes[n]] for n in kept]) if node.op == "output" else None

    return replace(rebuild(program, make, keep_unread=True), outputs=kept, out_spec=spec)


def drop_unread(graph: fx.Graph) -> None:
    """Removes from a graph that is being made what nothing reads, inputs apart."""
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
