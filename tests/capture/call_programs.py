"""Programs of a few calls, written by hand, and as text: each output as one nested expression."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.program import InputSpec, Program
from igc.program.schema import operation

Build = Callable[..., Any]  # (call, *inputs) -> one node or several; call(target, *args, **kwargs)
LAYER = "net.part"


def program(build: Build, *inputs: Tensor, sizes: dict[int, str] | None = None) -> Program:
    """The program that `build` makes of inputs like these, called x, y, z, w.

    `sizes` names the axes of every input that are dynamic. Every call is of `LAYER`.
    """
    dynamic, graph = sizes or {}, fx.Graph()
    nodes = [graph.placeholder(name) for name, _ in zip("xyzw", inputs, strict=False)]

    def call(target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = graph.call_function(target, args, kwargs)
        node.meta = {"layer": LAYER}
        return node

    made = build(call, *nodes)
    results = list(made) if isinstance(made, (list, tuple)) else [made]
    graph.output(results)
    names = tuple(f"out{i}" for i in range(len(results)))
    return Program(
        graph,
        {},
        tuple(
            InputSpec(
                str(node.target),
                tuple(dynamic.get(axis, n) for axis, n in enumerate(x.shape)),
                x.dtype,
            )
            for node, x in zip(nodes, inputs, strict=True)
        ),
        names,
        pytree.tree_structure(dict.fromkeys(names, 0)),
        {name: inputs[0].shape[axis] for axis, name in dynamic.items()},
        inputs[0].dtype,
    )


def outputs(call: Build, node: fx.Node, *numbers: int) -> list[fx.Node]:
    """These outputs of a call with several."""
    return [call(operator.getitem, node, number) for number in numbers]


def text(made: Program) -> str:
    """The outputs, one a line."""
    return "\n".join(_text(node) for node in made.output_nodes)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if not isinstance(value, fx.Node):
        return str(value).removeprefix("torch.")
    if value.op != "call_function":
        return str(value.target)
    name = operation(value).removeprefix("aten.").removeprefix("operator.")
    given = [*map(_text, value.args), *(f"{k}={_text(v)}" for k, v in value.kwargs.items())]
    return f"{name.removesuffix('.default')}({', '.join(given)})"


def everything(made: Program) -> list[Any]:
    """All of a program that could be written on, to compare before and after."""
    nodes = [
        (n.name, n.op, n.target, n.args, n.kwargs, dict(n.meta), list(n.users))
        for n in made.graph.nodes
    ]
    held = {name: (id(tensor), tensor.tolist()) for name, tensor in made.constants.items()}
    return [id(made.graph), nodes, held, dict(made.note), dict(made.sizes), made.dtype]
