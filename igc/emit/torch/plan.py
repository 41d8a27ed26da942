"""From a program to the parts of a PyTorch module: layers, loose tensors and the text of forward.

The static module and the standalone source are both built from one `Plan`, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn

from igc.emit.names import Names
from igc.emit.torch.body import Body
from igc.emit.torch.guard import check_forward
from igc.emit.torch.modules import Layer, layer_for
from igc.program import Program
from igc.program.shapes import shapes
from igc.program.structure import Kind

RESERVED = (
    "load", "Net", "plan", "program", "tasks", "outputs", "to_program", "save", "export", "source",
    "gathered_layers",
)  # fmt: skip


@dataclass(frozen=True)
class Loose:
    """A constant that is no part of a layer: a parameter where it can be trained, else a buffer."""

    constant: str
    trainable: bool


@dataclass(frozen=True)
class Plan:
    """The parts of a module. `program` is the source without its tensors.

    `layers` and `loose` map attribute names to parts, `calls` nodes to their layer; `where` maps
    each constant to its place, such as `trunk_conv1.weight`, and `shapes` to its shape. `forward`
    is the text of the method; `containers` are the namedtuple types, and the kinds of objects,
    that it names.
    """

    program: Program
    layers: Mapping[str, Layer]
    calls: Mapping[fx.Node, str]
    loose: Mapping[str, Loose]
    where: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: tuple[str, ...]
    forward: str
    containers: Mapping[str, type[Any] | Kind]

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        """Plans are never changed: copies of a module share theirs."""
        return self


def plan(program: Program) -> Plan:
    """The plan of `program`. Raises `BadInput` where its outputs cannot be written as code."""
    names = Names({*dir(nn.Module), *RESERVED, "self", "torch", "F", "OrderedDict", "float"})
    names_of_layers, layers = _layers(program, names)
    owned = {c for layer in layers.values() for _, c in layer.tensors}
    loose: dict[str, Loose] = {}
    where: dict[str, str] = {}
    for attribute, layer in layers.items():
        for own, constant in layer.tensors:
            where[constant] = f"{attribute}.{own}"
    for constant, value in _read(program).items():
        if constant not in owned:
            attribute = names.new(constant)
            loose[attribute] = Loose(constant, is_trainable(program, constant, value))
            where[constant] = attribute
    body = Body(program, names_of_layers, where)
    text = body.text()
    check_forward(text, [*layers, *loose], body.containers)
    skeleton = replace(program, constants={})
    sizes = {name: tuple(program.constants[name].shape) for name in where}
    parts = (skeleton, layers, names_of_layers, loose, where, sizes, body.inputs, text)
    return Plan(*parts, body.containers)


def _read(program: Program) -> dict[str, Tensor]:
    """The constants that the graph names, in the order of their first use."""
    read = (str(n.target) for n in program.graph.nodes if n.op == "get_attr")
    return {name: program.constants[name] for name in read}


def _layers(program: Program, names: Names) -> tuple[dict[fx.Node, str], dict[str, Layer]]:
    """Attribute name by node, and layer by attribute name.

    A constant belongs to a layer only where everything that reads it is that very layer; calls
    that agree in all arguments and tensors share one layer, as they did in the user's network.
    """
    facts = shapes(program)
    candidates: dict[fx.Node, Layer] = {}
    for node in program.graph.nodes:
        layer = layer_for(node, program.constants, facts)
        if layer is not None:
            candidates[node] = layer
    readers: dict[str, set[Layer | None]] = {}
    for node in program.graph.nodes:
        for operand in node.all_input_nodes:
            if operand.op == "get_attr":
                readers.setdefault(str(operand.target), set()).add(candidates.get(node))
    names_of: dict[fx.Node, str] = {}
    layers: dict[str, Layer] = {}
    shared: dict[Layer, str] = {}
    for node, layer in candidates.items():
        constants = [c for _, c in layer.tensors]
        twice = len(set(constants)) < len(constants)
        if twice or any(readers[c] != {layer} for c in constants):
            continue
        attribute = shared.get(layer) if constants else None
        if attribute is None:
            attribute = names.new(_path(node, constants), default=layer.kind.lower())
            layers[attribute] = layer
            shared[layer] = attribute
        names_of[node] = attribute
    return names_of, layers


def _path(node: fx.Node, constants: Iterable[str]) -> str:
    """The user's name for the layer; without one, what its first tensor is called."""
    known = str(node.meta.get("layer") or "")
    first = next(iter(constants), "")
    return known or first.rpartition(".")[0]


def is_trainable(program: Program, constant: str, value: Tensor) -> bool:
    """Whether a loose constant is a weight: floating, and not made of the user's buffers alone."""
    if not value.dtype.is_floating_point:
        return False
    buffers = set(program.note.get("buffers", ()))
    origin = program.origins.get(constant)
    sources = {constant} if origin is None else {origin.source, *origin.parts} - {""}
    return constant not in buffers and not sources <= buffers
