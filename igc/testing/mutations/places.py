"""Where a change is made: the places of a model, found again in a copy of it by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import onnx

Change = Callable[[onnx.ModelProto], Any]
Changes = Iterator[tuple[str, Change]]
Find = Callable[[onnx.ModelProto], Any]


def graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """The graph, and every one inside it or inside a function."""
    found: list[onnx.GraphProto] = []

    def within(nodes: Any) -> None:
        for node in nodes:
            for attribute in node.attribute:
                for graph in [*([attribute.g] if attribute.HasField("g") else []),
                              *attribute.graphs]:  # fmt: skip
                    found.append(graph)
                    within(graph.node)

    found.append(model.graph)
    within(model.graph.node)
    for function in model.functions:
        within(function.node)
    return found


def bodies(model: onnx.ModelProto) -> list[Any]:
    """All that holds nodes: the graphs, and the functions."""
    return [*graphs(model), *model.functions]


def in_graph(k: int) -> Find:
    """Finds graph `k`."""
    return lambda model: graphs(model)[k]


def in_body(k: int) -> Find:
    """Finds what holds nodes, number `k`."""
    return lambda model: bodies(model)[k]


def nodes(model: onnx.ModelProto) -> Iterator[tuple[str, int, int, onnx.NodeProto]]:
    """What to call each node, the number of its body, its own there, and it."""
    for k, body in enumerate(bodies(model)):
        for i, node in enumerate(body.node):
            inside = f" in body {k}" if k else ""
            yield f"node {node.name or i}{inside}", k, i, node


def spot(find: Find, *steps: str | int) -> Find:
    """Finds a field, or an entry of a list, of what is found; and so on."""

    def found(model: Any) -> Any:
        value = find(model)
        for step in steps:
            value = getattr(value, step) if isinstance(step, str) else value[step]
        return value

    return found


def drop(i: int, values: Any) -> None:
    """Takes an entry out of a list."""
    del values[i]


def at(find: Find, change: Callable[[Any], Any]) -> Change:
    """The change, made of what is found."""
    return lambda model: change(find(model))


def put(find: Find, field: str, value: Any) -> Change:
    """Sets a field of what is found."""
    return lambda model: setattr(find(model), field, value)


def put_entry(find: Find, i: int, value: Any) -> Change:
    """Sets entry `i` of the list that is found."""
    return lambda model: find(model).__setitem__(i, value)


def exchange(values: Any, i: int, j: int) -> None:
    """Exchanges two entries of a list of messages or plain values."""
    if hasattr(values[i], "CopyFrom"):
        kept = type(values[i])()
        kept.CopyFrom(values[i])
        values[i].CopyFrom(values[j])
        values[j].CopyFrom(kept)
    else:
        values[i], values[j] = values[j], values[i]


def copied(values: Any, i: int) -> Any:
    """Appends a copy of entry `i`, and returns it."""
    made = values.add()
    made.CopyFrom(values[i])
    return made


def move_to(values: Any, i: int) -> None:
    """Puts the last entry of a list of messages at place `i`."""
    entries = []
    for value in values:
        kept = type(value)()
        kept.CopyFrom(value)
        entries.append(kept)
    entries.insert(i, entries.pop())
    del values[:]
    values.extend(entries)


def rename(body: Any, old: str, new: str) -> None:
    """Gives a value another name everywhere in the body, sub-graphs included."""
    for node in body.node:
        node.input[:] = [new if n == old else n for n in node.input]
        node.output[:] = [new if n == old else n for n in node.output]
        for attribute in node.attribute:
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                rename(graph, old, new)
    for field in ("input", "output", "initializer", "value_info"):
        for value in getattr(body, field, ()):
            if getattr(value, "name", None) == old:
                value.name = new
