"""A torch.fx graph as a Python function, and as flat data that copies and pickles."""

from __future__ import annotations

import inspect
import itertools
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import fx
from torch.fx.node import map_aggregate

_serial = itertools.count()


def function_of(graph: fx.Graph) -> Callable[..., Any]:
    """Returns `forward(self, *inputs)`; a traceback through it shows the generated lines."""
    python = graph.python_code("self")
    filename = f"<gated network {next(_serial)}>"
    linecache.cache[filename] = (len(python.src), None, python.src.splitlines(True), filename)
    namespace = dict(python.globals)
    exec(compile(python.src, filename, "exec"), namespace)  # noqa: S102 - torch.fx wrote it
    forward: Callable[..., Any] = namespace["forward"]
    return forward


def by_training(training: Callable[..., Any], evaluation: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a `forward(self, *inputs)` that calls one of two, by `self.training`.

    Its arguments have their names, which torch.export and torch.fx read.
    """
    names = ", ".join(inspect.signature(evaluation).parameters)
    source = (
        f"def forward({names}):\n    return (training if self.training else evaluation)({names})\n"
    )
    namespace: dict[str, Any] = {"training": training, "evaluation": evaluation}
    exec(compile(source, "<gated network>", "exec"), namespace)  # noqa: S102 - written above
    forward: Any = namespace["forward"]
    forward.__defaults__ = getattr(evaluation, "__defaults__", None)
    return cast(Callable[..., Any], forward)


@dataclass(frozen=True)
class Line:
    """One node of a graph; the nodes it reads stand as `Ref`."""

    op: str
    target: Any
    args: Any
    kwargs: Any
    name: str


@dataclass(frozen=True)
class Ref:
    """The node of that name."""

    name: str


def lines_of(graph: fx.Graph) -> list[Line]:
    """Returns the graph's nodes in order. (Pickling a Graph itself recurses once per node.)"""

    def ref_of(value: Any) -> Any:
        return Ref(value.name) if isinstance(value, fx.Node) else value

    lines = []
    for node in graph.nodes:
        args, kwargs = map_aggregate((node.args, node.kwargs), ref_of)
        lines.append(Line(node.op, node.target, args, kwargs, node.name))
    return lines


def graph_of(lines: list[Line]) -> fx.Graph:
    """Returns the graph that `lines_of` took apart."""
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}

    def node_of(value: Any) -> Any:
        return nodes[value.name] if isinstance(value, Ref) else value

    for line in lines:
        args, kwargs = map_aggregate((line.args, line.kwargs), node_of)
        nodes[line.name] = graph.create_node(line.op, line.target, args, kwargs, line.name)
    return graph
