"""Inputs and outputs of a graph: names, order, types, sizes that are fixed, shared or open."""

from __future__ import annotations

from functools import partial
from typing import Any

import onnx
from onnx import TensorProto, helper

from igc.testing.mutations.places import (
    Change,
    Changes,
    Find,
    at,
    copied,
    drop,
    exchange,
    graphs,
    in_graph,
    rename,
    spot,
)


def of_interface(model: onnx.ModelProto) -> Changes:
    """Every input and output of every graph, and the values that a graph tells the types of."""
    for k, graph in enumerate(graphs(model)):
        here, inside = in_graph(k), f" in graph {k}" if k else ""
        for field in ("input", "output", "value_info"):
            for i, value in enumerate(getattr(graph, field)):
                for how, change in _of_value(value):
                    yield (
                        f"{field} {value.name}{inside}: {how}",
                        _on(spot(here, field, i), change),
                    )
                yield (
                    f"{field} {value.name}{inside}: renamed",
                    at(here, partial(_rename, value.name)),
                )
                yield (
                    f"{field} {value.name}{inside}: removed",
                    at(spot(here, field), partial(drop, i)),
                )
                yield (
                    f"{field} {value.name}{inside}: once more",
                    at(spot(here, field), partial(_again, i)),
                )
            if len(getattr(graph, field)) > 1:
                yield (
                    f"{field}{inside}: in another order",
                    at(spot(here, field), _turn),
                )
        if len(graph.output) > 1:
            yield f"output{inside}: names exchanged", at(here, _exchange_outputs)
        if graph.initializer:
            yield f"input{inside}: an initialiser that may be given", at(here, _overridable)
        if graph.node:
            yield f"output{inside}: what a node gives", at(here, partial(_told, "output"))
            yield f"value_info{inside}: one more", at(here, partial(_told, "value_info"))
        symbols = {d.dim_param for v in graph.input for d in _dims(v)} - {""}
        for old in sorted(symbols):
            yield f"symbol {old}{inside}: another name", at(here, partial(_symbol, old, "other"))
            for new in sorted(symbols - {old}):
                yield f"symbol {old}{inside}: is {new}", at(here, partial(_symbol, old, new))


def _of_value(value: onnx.ValueInfoProto) -> Changes:
    kind = value.type.tensor_type.elem_type
    other = TensorProto.DOUBLE if kind == TensorProto.FLOAT else TensorProto.FLOAT
    yield "another type", lambda v: setattr(v.type.tensor_type, "elem_type", other)
    yield "no shape", lambda v: v.type.tensor_type.ClearField("shape")
    yield "one more axis", lambda v: v.type.tensor_type.shape.dim.add(dim_value=1)
    yield "a denotation", lambda v: setattr(v.type, "denotation", "IMAGE")
    yield "a doc string", lambda v: setattr(v, "doc_string", "text")
    for d, dim in enumerate(_dims(value)):
        fixed = dim.HasField("dim_value")
        yield f"size {d} another", partial(_size, d, "dim_value", dim.dim_value + 1)
        yield f"size {d} {'open' if fixed else 'shared'}", partial(_size, d, "dim_param", "batch")
        yield f"size {d} a symbol of its own", partial(_size, d, "dim_param", "own")
        yield f"size {d} untold", partial(_untold, d)
        yield f"size {d} denoted", partial(_size, d, "denotation", "DATA_BATCH")


def _on(find: Find, change: Change) -> Change:
    return lambda model: change(find(model))


def _again(i: int, values: Any) -> None:
    copied(values, i)


def _turn(values: Any) -> None:
    exchange(values, 0, 1)


def _untold(d: int, value: onnx.ValueInfoProto) -> None:
    _dims(value)[d].Clear()


def _dims(value: onnx.ValueInfoProto) -> Any:
    return value.type.tensor_type.shape.dim


def _size(d: int, field: str, size: int | str, value: onnx.ValueInfoProto) -> None:
    setattr(_dims(value)[d], field, size)


def _symbol(old: str, new: str, graph: onnx.GraphProto) -> None:
    """One symbol for another, everywhere."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in _dims(value):
            if dim.dim_param == old:
                dim.dim_param = new


def _rename(old: str, graph: onnx.GraphProto) -> None:
    rename(graph, old, f"{old}_renamed")


def _exchange_outputs(graph: onnx.GraphProto) -> None:
    """Each output holds what the other one held."""
    first, second = (o.name for o in graph.output[:2])
    for node in graph.node:
        node.output[:] = [{first: second, second: first}.get(n, n) for n in node.output]
        node.input[:] = [{first: second, second: first}.get(n, n) for n in node.input]


def _overridable(graph: onnx.GraphProto) -> None:
    tensor = graph.initializer[0]
    graph.input.append(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    )


def _told(field: str, graph: onnx.GraphProto) -> None:
    value = helper.make_tensor_value_info(graph.node[0].output[0], TensorProto.FLOAT, None)
    getattr(graph, field).append(value)
