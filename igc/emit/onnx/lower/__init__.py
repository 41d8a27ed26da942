"""From a program straight to ONNX nodes; knows the operators, not the onnx package.

One file per family of ops, with the names that `igc.ops` gives them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import fx

from igc.emit.onnx.lower import (
    activation,
    attention,
    combine,
    compare,
    conv,
    create,
    index,
    linear,
    norm,
    pointwise,
    pool,
    rearrange,
    recurrent,
    reduce,
    resample,
    shape,
    sort,
    window,
)
from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Unsupported
from igc.emit.onnx.lower.graph import OnnxGraph, OnnxNode
from igc.emit.sizes import size_names
from igc.program import Program
from igc.program.nodes import layer_of
from igc.program.schema import base_name, is_size, op_name, operation

__all__ = ["OnnxGraph", "OnnxNode", "Unsupported", "lower"]

#: By name; those of `igc.ops`, and those whose ops have no rule there.
FAMILIES: dict[str, ModuleType] = {
    family.__name__.rpartition(".")[2]: family
    for family in (
        activation, attention, combine, compare, conv, create, index, linear, norm, pointwise, pool,
        rearrange, recurrent, reduce, resample, shape, sort, window,
    )
}  # fmt: skip
RULES: Mapping[str, Rule] = {
    name: rule for family in FAMILIES.values() for name, rule in family.RULES.items()
}


@dataclass(frozen=True)
class Result:
    """An output: its name, dtype and dims (numbers, telling names of input sizes, or unknown)."""

    name: str
    dtype: torch.dtype
    dims: list[int | str | None]


def lower(program: Program, inputs: tuple[str, ...]) -> tuple[OnnxGraph, list[Result]]:
    """The ONNX graph of `program`, with the given input names, and its outputs.

    Those carry the names `program.outputs`, in order. Raises `Unsupported` where a call has no
    direct form; the message names its layer and op.
    """
    made = OnnxGraph(taken={*inputs, *program.outputs})
    at = Lowering(program, made)
    for node, name in zip(program.placeholders, inputs, strict=True):
        at.bind_value(node, name)
    for node in program.graph.nodes:
        if node.op == "call_function" and not is_size(node):
            at.bind_value(node, _lower(at, node))
    graph = _named(at, program)
    telling = size_names(program)
    pairs = zip(program.outputs, program.output_nodes, strict=True)
    return graph, [Result(name, at.dtype(n), at.dims(n, telling)) for name, n in pairs]


def has_form(op: torch._ops.OpOverload) -> bool:
    """Whether calls of an op are written directly, for most of its arguments; sizes are."""
    return base_name(op) in RULES or op is torch.ops.aten.sym_size.int


def _lower(at: Lowering, node: fx.Node) -> Lowered:
    if node.target is operator.getitem:
        source, index = node.args
        values = at.outputs_of(source)  # type: ignore[arg-type]  # fx types args loosely
        assert isinstance(index, int)
        return values[index]
    assert isinstance(node.target, torch._ops.OpOverload)
    rule = RULES.get(op_name(node))
    where = f"layer '{layer_of(node)}': {operation(node)}"
    if rule is None:
        raise Unsupported(where)
    try:
        return rule(at, node)
    except Unsupported as reason:
        raise Unsupported(f"{where}: {reason}") from None


def _named(at: Lowering, program: Program) -> OnnxGraph:
    """Gives the values that are returned the names of the outputs."""
    graph = at.graph
    made = {name for node in graph.nodes for name in node.outputs}
    rename: dict[str, str] = {}
    extra: list[OnnxNode] = []
    for node, wanted in zip(program.output_nodes, program.outputs, strict=True):
        value = at(node)
        if value in made and value not in rename:
            rename[value] = wanted
        else:
            extra.append(OnnxNode("Identity", (value,), (wanted,), ()))
    nodes = [
        OnnxNode(
            n.kind,
            tuple(rename.get(i, i) for i in n.inputs),
            tuple(rename.get(o, o) for o in n.outputs),
            n.attributes,
        )
        for n in [*graph.nodes, *extra]
    ]
    read = {i for n in nodes for i in n.inputs}
    kept = {k: v for k, v in graph.initialisers.items() if k in read}
    return OnnxGraph(nodes, kept, graph.taken)
