"""The floating types of a static network: its own, and those that parts of it have for themselves.

A network computes in one floating type (`Program.dtype`), but a part of it may compute in another
one, with constants of its own: norms and tables in float32 in a bfloat16 network, say. A constant
that counts as another type (`Program.kind`) is read through a cast to that type. That changes
nothing as it stands, and the network still runs when it is converted whole, by `.double()` or
`.half()`, as torch then converts every parameter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.program import Program
from igc.program.dtypes import cast_to
from igc.program.nodes import call_like, copy_node
from igc.program.rebuild import Env, rebuild, with_arguments

aten = torch.ops.aten


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
    """The program with a cast behind every floating constant that has a type of its own."""
    own = {
        name: value.dtype
        for name, value in program.constants.items()
        if value.is_floating_point() and value.dtype != program.dtype
    }
    if not own:
        return program
    cast: dict[fx.Node, fx.Node] = {}

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node:
        new = copy_node(
            graph, node, lambda n: env[n] if _names_a_type(node) else cast.get(n, env[n])
        )
        if node.op == "get_attr" and str(node.target) in own:
            dtype = own[str(node.target)]
            cast[node] = call_like(graph, node, aten._to_copy.default, new, dtype=dtype)
        return new

    return rebuild(program, make)


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
