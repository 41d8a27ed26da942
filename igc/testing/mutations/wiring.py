"""Nodes removed, doubled, inserted, exchanged and wired otherwise; values under other names."""

from __future__ import annotations

from functools import partial
from typing import Any

import onnx
from onnx import helper

from igc.testing.mutations.places import (
    Changes,
    at,
    bodies,
    copied,
    drop,
    exchange,
    graphs,
    in_body,
    in_graph,
    move_to,
    nodes,
    put,
    rename,
    spot,
)

MOST = 3  # other values that an input is wired to


def of_wiring(model: onnx.ModelProto) -> Changes:
    """Every node, every value that one reads or gives, every initialiser."""
    for name, k, i, node in nodes(model):
        body = in_body(k)
        yield f"{name}: removed", at(spot(body, "node"), partial(drop, i))
        yield f"{name}: doubled", at(body, partial(_double, i))
        yield f"{name}: another op", put(spot(body, "node", i), "op_type", _other(node.op_type))
        yield f"{name}: another domain", put(spot(body, "node", i), "domain", "other")
        yield f"{name}: another overload", put(spot(body, "node", i), "overload", "other")
        yield f"{name}: another name", put(spot(body, "node", i), "name", node.name + "_")
        yield f"{name}: behind the next", at(body, partial(_exchange_nodes, i))
        for o, output in enumerate(node.output):
            yield f"{name}: output {o} renamed", at(body, partial(_rename, output))
            yield f"{name}: behind output {o} an Identity", at(body, partial(_insert, i, o))
        yield f"{name}: one more output", at(body, partial(_more_output, i))
        for a, read in enumerate(node.input):
            yield f"{name}: input {a} left out", at(body, partial(_wire, i, a, ""))
            for other in _others(bodies(model)[k], i, read):
                yield f"{name}: reads {other} as input {a}", at(body, partial(_wire, i, a, other))
            for b in range(a):
                if node.input[b] != read:
                    yield f"{name}: inputs {b}, {a} exchanged", at(body, partial(_turn, i, a, b))
        if node.input:
            yield f"{name}: one more input", at(spot(body, "node", i, "input"), _first_again)
    for k, graph in enumerate(graphs(model)):
        here = in_graph(k)
        for i, tensor in enumerate(graph.initializer):
            yield (
                f"initialiser {tensor.name}: removed",
                at(spot(here, "initializer"), partial(drop, i)),
            )
            yield f"initialiser {tensor.name}: renamed", at(here, partial(_rename, tensor.name))
            yield f"initialiser {tensor.name}: once more", at(here, partial(_again, i))
        if len(graph.initializer) > 1:
            yield (
                "initialisers: in another order",
                at(here, lambda g: exchange(g.initializer, 0, len(g.initializer) - 1)),
            )


def _others(body: Any, i: int, read: str) -> list[str]:
    """Some values that node `i` could read instead: the nearest, and those of the graph."""
    given = [o for node in body.node[:i] for o in node.output if o and o != read][::-1]
    held = [t.name for t in getattr(body, "initializer", ()) if t.name != read]
    taken = [getattr(v, "name", v) for v in body.input]
    return [*given[:MOST], *held[:1], *(n for n in taken[:1] if n != read)]


def _first_again(values: Any) -> None:
    values.append(values[0])


def _other(op: str) -> str:
    return "Sigmoid" if op == "Relu" else "Relu"


def _double(i: int, body: Any) -> None:
    """The node once more, under other names; nothing reads it."""
    made = copied(body.node, i)
    made.name += "_again"
    made.output[:] = [f"{o}_again" for o in made.output]


def _exchange_nodes(i: int, body: Any) -> None:
    if i + 1 < len(body.node):
        exchange(body.node, i, i + 1)


def _rename(old: str, body: Any) -> None:
    """The same under another name, which the interface of a graph has, too."""
    rename(body, old, f"{old}_renamed")


def _insert(i: int, o: int, body: Any) -> None:
    """Behind an output: the node gives it under another name, and the new one as it was."""
    old = body.node[i].output[o]
    body.node[i].output[o] = f"{old}_before"
    made = helper.make_node("Identity", [f"{old}_before"], [old], name="inserted")
    body.node.append(made)
    move_to(body.node, i + 1)


def _more_output(i: int, body: Any) -> None:
    body.node[i].output.append("one_more")


def _wire(i: int, a: int, other: str, body: Any) -> None:
    body.node[i].input[a] = other


def _turn(i: int, a: int, b: int, body: Any) -> None:
    exchange(body.node[i].input, a, b)


def _again(i: int, graph: onnx.GraphProto) -> None:
    """A tensor that nothing reads."""
    copied(graph.initializer, i).name += "_again"
