"""Program -> plain data."""

from __future__ import annotations

from typing import Any

from torch import fx

from igc.checkpoint.data.guard import check_call, with_device
from igc.checkpoint.data.values import dtype_name, encode, encode_structure
from igc.errors import BadInput, IgcError
from igc.ops.allowed import name_of
from igc.program import Origin, Program


def to_data(program: Program) -> dict[str, Any]:
    """The program without its tensors as plain data: what JSON can hold, and no more.

    Raises `BadInput`, naming the layer, for a graph that cannot be stored: an operation outside
    the table, an argument or an output container without a plain form.
    """
    constants = program.constants
    return {
        "dtype": dtype_name(program.dtype),
        "sizes": dict(program.sizes),
        "inputs": [
            {"name": s.name, "dims": list(s.dims), "dtype": dtype_name(s.dtype)}
            for s in program.inputs
        ],
        "outputs": list(program.outputs),
        "structure": encode_structure(program.out_spec),
        # Passes may have removed gates and sources of origins; only names that still stand for
        # something are stored.
        "gates": {
            layer: {task: name for task, name in by_task.items() if name in constants}
            for layer, by_task in program.gates.items()
        },
        "mixes": {layer: name for layer, name in program.mixes.items() if name in constants},
        "origins": {
            name: _origin(origin) for name, origin in program.origins.items() if name in constants
        },
        "note": {k: v for k, v in program.note.items() if isinstance(v, (str, bool, int))},
        "nodes": [_node(n) for n in program.graph.nodes],
    }


def _origin(origin: Origin) -> dict[str, Any]:
    return {
        "source": origin.source,
        "index": [None if axis is None else list(axis) for axis in origin.index],
        "transform": origin.transform,
        "parts": list(origin.parts),
    }


def _node(node: fx.Node) -> dict[str, Any]:
    data: dict[str, Any] = {"name": node.name, "op": node.op}
    layer = str(node.meta.get("layer") or "")
    if layer:
        data["layer"] = layer
    if node.op == "get_attr":
        data["target"] = str(node.target)
    elif node.op == "output":
        data["args"] = [encode(n) for n in node.args[0]]  # type: ignore[union-attr]  # a list
    elif node.op == "call_function":
        data["target"] = name_of(node.target, layer)
        try:
            check_call(node.target, node.args, dict(node.kwargs))
            kwargs = with_device(node.target, node.args, dict(node.kwargs))
            data["args"] = [encode(a) for a in node.args]
            if kwargs:
                data["kwargs"] = {k: encode(v) for k, v in kwargs.items()}
        except IgcError as error:
            raise BadInput(f"layer '{layer or node.name}': {error}") from None
    elif node.op != "placeholder":
        raise BadInput(f"layer '{layer or node.name}' is a {node.op} node, which cannot be stored")
    return data
