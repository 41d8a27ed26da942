"""Running a reference in float64 without changing what it decided in its own precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from igc.errors import BadInput, one_line
from igc.program.dtypes import is_float
from igc.program.nodes import copy_node, layer_of
from igc.program.program import Program

aten = torch.ops.aten
STEPS = frozenset({
    aten.round.default, aten.floor.default, aten.ceil.default, aten.trunc.default,
    aten.sign.default, aten.heaviside.default, aten.sgn.default, aten.fix.default,
})  # fmt: skip


def decided(program: Program) -> Program:
    """The same program with every decision that depends on constants alone already taken.

    A gate is a step function of a parameter. sigmoid(1e-8) > 0.5 is false in float32 and true in
    float64, so a float64 run of the plain program would open a gate that the network has closed.
    Comparisons, roundings and indices computed from constants are therefore evaluated in the
    program's own precision and become constants.
    """
    constant = _constant_nodes(program)
    kinds = _kinds(program, constant)
    return _frozen(program, {n for n in constant if _is_step(n, kinds)})


def settled(program: Program) -> Program:
    """The same program with everything that depends on constants alone computed already.

    In the program's own precision: the softmax of a mix, say, is then the rounded one that the
    network itself uses, and not that of a float64 run.
    """
    constant = _constant_nodes(program)
    ends = {
        n
        for n in constant
        if n.op == "call_function" and any(user not in constant for user in n.users)
    }
    return _frozen(program, ends)


def _constant_nodes(program: Program) -> dict[fx.Node, None]:
    """The nodes that depend on constants alone, in order."""
    found: dict[fx.Node, None] = {}
    for node in program.graph.nodes:
        made = node.op == "call_function" and all(n in found for n in node.all_input_nodes)
        drawn = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if node.op == "get_attr" or (made and not drawn):
            found[node] = None
    return found


def _kinds(program: Program, constant: dict[fx.Node, None]) -> dict[fx.Node, Any]:
    """Constant nodes evaluated on meta tensors: their dtypes, without their values."""

    def start(node: fx.Node) -> Any:
        return program.constants[str(node.target)].to("meta")

    return _evaluate(constant, start, device="meta")


def _is_step(node: fx.Node, kinds: dict[fx.Node, Any]) -> bool:
    if node.op != "call_function":
        return False
    if node.target in STEPS:
        return True
    value = kinds[node]
    return (
        isinstance(value, Tensor)
        and not is_float(value.dtype)
        and any(is_float(getattr(kinds[n], "dtype", None)) for n in node.all_input_nodes)
    )


def _frozen(program: Program, chosen: set[fx.Node]) -> Program:
    """The program with the values of the chosen constant nodes in their place."""
    if not chosen:
        return program
    wanted: set[fx.Node] = set()
    stack = list(chosen)
    while stack:
        node = stack.pop()
        if node not in wanted:
            wanted.add(node)
            stack.extend(node.all_input_nodes)
    order = [n for n in program.graph.nodes if n in wanted]
    values = _evaluate(order, lambda n: program.constant(str(n.target)))
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    constants = dict(program.constants)
    for node in program.graph.nodes:
        if node in chosen and isinstance(values[node], Tensor):
            name = f"settled.{node.name}"
            constants[name] = values[node]
            env[node] = graph.create_node("get_attr", name, name=node.name)
            env[node].meta = dict(node.meta)
        else:
            env[node] = copy_node(graph, node, env.__getitem__)
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    return program.with_graph(graph, constants)


def _evaluate(
    order: Iterable[fx.Node],
    start: Callable[[fx.Node], Tensor],
    device: str | None = None,
) -> dict[fx.Node, Any]:
    values: dict[fx.Node, Any] = {}
    for node in order:
        if node.op == "get_attr":
            values[node] = start(node)
            continue
        args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
        if device is not None and "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device(device)}
        try:
            with torch.no_grad():
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator]  # a call
        except Exception as error:  # torch raises many kinds for operands that do not fit
            reason = one_line(error, 200)
            raise BadInput(f"layer '{layer_of(node)}' does not run: {reason}") from error
    return values
