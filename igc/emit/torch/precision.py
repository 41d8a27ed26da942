"""The floating types of a static network: its own, and those that parts of it have for themselves.

A network computes in one floating type (`Program.dtype`), but a part of it may compute in another
one, with constants of its own: norms and tables in float32 in a bfloat16 network, say. A constant
that counts as another type (`Program.kind`) is read through a cast to that type, and what is
computed of values of several types is followed by a cast to the type that it has. That changes
nothing as it stands, and the network still runs when it is converted whole, by `.double()` or
`.half()`, as torch then converts every parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.program import Program
from igc.program.dtypes import cast_to, is_float
from igc.program.nodes import args_of, call_like, copy_node
from igc.program.rebuild import Env, rebuild, with_arguments
from igc.program.schema import op_name
from igc.program.shapes import Value, shapes

aten = torch.ops.aten
# What computes in the type of its parameters, and rounds to that of its input.
NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})


def retype(program: Program, dtype: torch.dtype, of: torch.dtype | None = None) -> Program:
    """The program with the type `of`, its own by default, replaced by `dtype`.

    That are constants of the type, inputs, and the calls that name it. All constants are rounded
    to the type that they count as, and stored so.
    """
    old = program.dtype if of is None else of
    constants = {
        name: cast_to(value, dtype if program.kind(name) == old else program.kind(name))
        for name, value in program.constants.items()
    }
    program = replace(program, constants=constants, kinds={})
    if dtype == old:
        return program

    def convert(value: Any) -> Any:
        return dtype if isinstance(value, torch.dtype) and value == old else value

    inputs = tuple(replace(spec, dtype=convert(spec.dtype)) for spec in program.inputs)
    new = with_arguments(program, convert)
    return replace(new, inputs=inputs, dtype=convert(program.dtype))


def names_type(program: Program, dtype: torch.dtype) -> bool:
    """Whether a part of the program has that type: constants, inputs, or what a call asks for."""
    calls = ((n.args, n.kwargs) for n in program.graph.nodes if n.op == "call_function")
    return (
        dtype in (program.dtype, *(s.dtype for s in program.inputs))
        or any(program.kind(name) == dtype for name in program.constants)
        or any(leaf == dtype for call in calls for leaf in pytree.tree_leaves(call))
    )


def with_casts(program: Program) -> Program:
    """The program with casts wherever two floating types meet.

    Behind every constant that has a type of its own, behind every call that reads several types,
    and around norms whose input is of another type than their parameters.
    """
    own = {
        name: value.dtype
        for name, value in program.constants.items()
        if value.is_floating_point() and value.dtype != program.dtype
    }
    facts = shapes(program)
    if not own and {v.dtype for v in facts.values() if is_float(v.dtype)} <= {program.dtype}:
        return program
    cast: dict[fx.Node, fx.Node] = {}

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node:
        def operand(n: fx.Node) -> Any:
            return env[n] if _names_a_type(node) else cast.get(n, env[n])

        new = copy_node(graph, node, operand)
        if node.op == "get_attr" and str(node.target) in own:
            dtype = own[str(node.target)]
            cast[node] = call_like(graph, node, aten._to_copy.default, new, dtype=dtype)
        if node.op != "call_function" or _names_a_type(node) or not _meeting(node, facts):
            return new
        if op_name(node) in NORMS:
            x = args_of(node)[0]
            wide = next(t for n in node.all_input_nodes if (t := facts[n].dtype) != facts[x].dtype)
            graph.erase_node(new)
            raised = call_like(graph, node, aten._to_copy.default, operand(x), dtype=wide)
            new = copy_node(graph, node, lambda n: raised if n is x else operand(n))
        elif all(_names_a_type(user) for user in node.users):
            return new
        return call_like(graph, node, aten._to_copy.default, new, dtype=facts[node].dtype)

    return rebuild(program, make)


def _meeting(node: fx.Node, facts: Mapping[fx.Node, Value]) -> bool:
    """Whether a call that returns floating numbers reads or returns several floating types."""
    found = {facts[n].dtype for n in (node, *node.all_input_nodes)}
    return is_float(facts[node].dtype) and len({d for d in found if is_float(d)}) > 1


def _names_a_type(node: fx.Node) -> bool:
    return node.target is aten._to_copy.default and node.kwargs.get("dtype") is not None


def unrounded(program: Program, typed: Program) -> dict[str, Tensor]:
    """What a bfloat16 network's ONNX file takes from `program` as float32 has it, by name.

    `typed` is the program as the static network holds it.
    """
    if not program.dtype == typed.dtype == torch.bfloat16:
        return {}
    wide = {k: v.float() for k, v in program.constants.items() if program.kind(k) == program.dtype}
    return {k: v for k, v in wide.items() if not torch.equal(v, typed.constants[k].float())}
