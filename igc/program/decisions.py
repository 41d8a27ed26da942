"""Decisions: which ops make them, and programs in which those that are constant have been taken.

A gate is a step function of a parameter. Run in float64, a network may decide otherwise than it
does in its own precision; so decisions are taken there first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from igc.errors import BadInput, one_line
from igc.program.dtypes import is_float, narrower
from igc.program.nodes import call_of, layer_of
from igc.program.program import Program, fresh_name
from igc.program.rebuild import Env, rebuild
from igc.program.schema import op_name

COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne"})
STEPS = frozenset({"round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside"})
CHOICES = frozenset({"where", "argmax", "one_hot", "scatter"})
#: Ops that decide, by name: what is computed from their results is a hard gate.
DECIDING = COMPARISONS | STEPS | CHOICES


def thresholds(node: fx.Node) -> bool:
    """Whether the op holds what it reads against a threshold: a comparison or a step."""
    return op_name(node) in COMPARISONS | STEPS


def decides(node: fx.Node) -> bool:
    """Whether what is computed from the op's result is a hard gate."""
    return op_name(node) in DECIDING


def snapped(value: Tensor) -> Tensor:
    """A hard gate within a few roundings of 0 and 1 throughout, at exactly 0 and 1.

    A straight-through gate written `hard - soft + soft` yields 0.99999994 for an open channel,
    and its complement 6e-8: a rounding, not a decision to mix.
    """
    if not value.dtype.is_floating_point or not value.numel():
        return value
    nearest = value.detach().round()
    near = (value.detach() - nearest).abs() <= 4 * torch.finfo(value.dtype).eps
    binary = (nearest == 0) | (nearest == 1)
    moves = bool((near & binary).all()) and not torch.equal(nearest, value)
    return nearest if moves else value  # which, for the audit, may have a gradient


@dataclass(frozen=True)
class Decided:
    """A program with decisions taken; `nodes` names, by constant, the node that each was."""

    program: Program
    nodes: dict[str, str]


def decisions(program: Program) -> Decided:
    """The same program with every decision that depends on constants alone already taken.

    sigmoid(1e-8) > 0.5 is false in float32 and true in float64, so a float64 run of the plain
    program would open a gate that the network has closed. Comparisons, roundings and indices
    computed from constants are therefore evaluated in the program's own precision and become
    constants.
    """
    constant = constant_nodes(program)
    kinds = _kinds(program, constant)
    return _frozen(program, {n for n in constant if _is_step(n, kinds)})


def decided(program: Program) -> Program:
    """The program that `decisions` gives, with constants rounded where the author rounds them.

    What is computed from constants in a narrower type than the program's, under autocast say, is
    computed in that type and becomes a constant, so that a float64 run has those roundings, too.
    """
    program = decisions(program).program
    constant = constant_nodes(program)
    kinds = _kinds(program, constant)
    return _frozen(program, {n for n in constant if _is_narrow(n, kinds, program.dtype)}).program


def _is_narrow(node: fx.Node, kinds: dict[fx.Node, Any], than: torch.dtype) -> bool:
    return node.op == "call_function" and narrower(getattr(kinds[node], "dtype", None), than)


def settled(program: Program) -> Program:
    """The same program with everything that depends on constants alone computed already.

    In the program's own precision: the softmax of a mix, say, is then the rounded one that the
    network itself uses, and not that of a float64 run.
    """
    constant = constant_nodes(program)
    ends = {
        n
        for n in constant
        if n.op == "call_function" and any(user not in constant for user in n.users)
    }
    return _frozen(program, ends).program


def constant_nodes(program: Program) -> dict[fx.Node, None]:
    """The nodes that depend on constants alone, in order."""
    found: dict[fx.Node, None] = {}
    for node in program.graph.nodes:
        made = node.op == "call_function" and all(n in found for n in node.all_input_nodes)
        drawn = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if node.op == "get_attr" or (made and not drawn):
            found[node] = None
    return found


def constant_value(program: Program, node: fx.Node) -> Any:
    """What a node that depends on constants alone is, in the program's own precision."""
    wanted, stack = {node}, [node]
    while stack:
        new = set(stack.pop().all_input_nodes) - wanted
        wanted |= new
        stack += new
    order = [n for n in program.graph.nodes if n in wanted]
    return _evaluate(order, lambda n: program.constant(str(n.target)))[node]


def _kinds(program: Program, constant: dict[fx.Node, None]) -> dict[fx.Node, Any]:
    """Constant nodes evaluated on meta tensors: their dtypes, without their values."""

    def start(node: fx.Node) -> Any:
        return program.constants[str(node.target)].to("meta")

    return _evaluate(constant, start, device="meta")


def _is_step(node: fx.Node, kinds: dict[fx.Node, Any]) -> bool:
    if node.op != "call_function":
        return False
    if op_name(node) in STEPS:
        return True
    value = kinds[node]
    return (
        isinstance(value, Tensor)
        and not is_float(value.dtype)
        and any(is_float(getattr(kinds[n], "dtype", None)) for n in call_of(node).all_input_nodes)
    )


def _frozen(program: Program, chosen: set[fx.Node]) -> Decided:
    """The program with the values of the chosen constant nodes in their place."""
    if not chosen:
        return Decided(program, {})
    wanted: set[fx.Node] = set()
    stack = list(chosen)
    while stack:
        node = stack.pop()
        if node not in wanted:
            wanted.add(node)
            stack.extend(node.all_input_nodes)
    order = [n for n in program.graph.nodes if n in wanted]
    values = _evaluate(order, lambda n: program.constant(str(n.target)))
    names = {
        n: fresh_name(n.name, program.constants) for n in chosen if isinstance(values[n], Tensor)
    }

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        if node not in names:
            return None
        new = graph.create_node("get_attr", names[node], name=node.name)
        new.meta = dict(node.meta)
        return new

    taken = {name: values[node] for node, name in names.items()}
    new = rebuild(program, make, {**program.constants, **taken})
    return Decided(new, {name: node.name for node, name in names.items()})


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
