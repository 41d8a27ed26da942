"""The nodes of a program's graph: what they call, what they read, and new ones like them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import fx

SIZE_OPS: dict[Any, str] = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.floordiv: "floordiv",
    operator.mod: "mod",
    operator.neg: "neg",
}


def call_of(node: fx.Node) -> fx.Node:
    """The call that computes a value: for one output of several, the one with several."""
    source = node.args[0] if node.target is operator.getitem else node
    return source if isinstance(source, fx.Node) else node


def args_of(node: fx.Node) -> tuple[Any, ...]:
    """The node's arguments, which fx types too loosely to use."""
    return cast("tuple[Any, ...]", node.args)


def mapped(value: Any, look: Callable[[fx.Node], Any]) -> Any:
    """Arguments with every node in them replaced by `look(node)`."""
    return fx.map_arg(value, look)


def layer_of(node: fx.Node) -> str:
    """The user's name for the module a node came from, or the node's own name."""
    return str(node.meta.get("layer") or node.name)


def tensor_operands(node: fx.Node) -> Iterator[fx.Node]:
    """The node's operands in order, each once."""
    yield from node.all_input_nodes


def copy_node(graph: fx.Graph, node: fx.Node, env: Callable[[fx.Node], fx.Node | Any]) -> fx.Node:
    """`node` copied into `graph`, its operands looked up by `env`; meta is kept."""
    new = graph.create_node(
        node.op,
        node.target,
        mapped(node.args, env),
        mapped(node.kwargs, env),
        name=node.name,
    )
    new.meta = dict(node.meta)
    return new


def call_like(graph: fx.Graph, like: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """A new call in `graph` that carries the layer of `like`."""
    node = graph.call_function(target, args, kwargs)
    node.meta = dict(like.meta)
    return node


def last_readers(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """For each node that is read, the last that reads it."""
    return {operand: node for node in graph.nodes for operand in node.all_input_nodes}


def last_reads(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For each node the operands that nothing reads after it."""
    dying: dict[fx.Node, list[fx.Node]] = {}
    for operand, user in last_readers(graph).items():
        dying.setdefault(user, []).append(operand)
    return dying
