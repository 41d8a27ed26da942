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

from igc.graph import Program, cast_to

aten = torch.ops.aten


def retype(program: Program, dtype: torch.dtype) -> Program:
    """The program in `dtype`: constants of its own type, inputs, and the calls that name it.

    Constants are rounded to the type that they count as, and stored so.
    """
    constants = {
        name: cast_to(value, dtype if program.kind(name) == program.dtype else program.kind(name))
        for name, value in program.constants.items()
    }
    origins = {name: replace(origin, counts_as=None) for name, origin in program.origins.items()}
    program = replace(program, constants=constants, origins=origins)
    if dtype == program.dtype:
        return program
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}

    def convert(value: Any) -> Any:
        return dtype if isinstance(value, torch.dtype) and value == program.dtype else value

    for node in program.graph.nodes:
        env[node] = graph.node_copy(node, env.__getitem__)
        if node.op == "call_function":
            env[node].args = pytree.tree_map(convert, env[node].args)
            env[node].kwargs = pytree.tree_map(convert, env[node].kwargs)
    inputs = tuple(replace(spec, dtype=convert(spec.dtype)) for spec in program.inputs)
    return replace(program, graph=graph, inputs=inputs, dtype=dtype)


def with_casts(program: Program) -> Program:
    """The program with a cast behind every floating constant that has a type of its own."""
    own = {
        name: value.dtype
        for name, value in program.constants.items()
        if value.is_floating_point() and value.dtype != program.dtype
    }
    if not own:
        return program
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    cast: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        reads = env if _names_a_type(node) else env | cast
        env[node] = graph.node_copy(node, reads.__getitem__)
        if node.op == "get_attr" and str(node.target) in own:
            cast[node] = graph.call_function(aten._to_copy.default, (env[node],))
            cast[node].kwargs = {"dtype": own[str(node.target)]}
            cast[node].meta = dict(node.meta)
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    return replace(program, graph=graph)


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
