"""Numbers moved by the least there is: attributes, initialisers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from igc.testing.mutations.places import (
    Changes,
    Find,
    at,
    drop,
    exchange,
    graphs,
    in_body,
    in_graph,
    nodes,
    put,
    put_entry,
    spot,
)


def of_values(model: onnx.ModelProto) -> Changes:
    """Every attribute of every node, every initialiser."""
    for name, k, i, node in nodes(model):
        for a, attribute in enumerate(node.attribute):
            find = spot(in_body(k), "node", i, "attribute", a)
            for how, change in _of_attribute(attribute, find):
                yield f"{name}, attribute {attribute.name}: {how}", change
        yield f"{name}: one more attribute", at(spot(in_body(k), "node", i), _more)
    for k, graph in enumerate(graphs(model)):
        tensors = graph.initializer
        for i, tensor in enumerate(tensors):
            for how, change in _of_tensor(tensor, spot(in_graph(k), "initializer", i)):
                yield f"initialiser {tensor.name}: {how}", change
            for j in range(i):
                if tensors[j].dims == tensor.dims and tensors[j].data_type == tensor.data_type:
                    yield (
                        f"initialisers {tensors[j].name}, {tensor.name}: values exchanged",
                        at(in_graph(k), partial(_exchange_values, i, j)),
                    )
                    break


def _of_attribute(attribute: AttributeProto, find: Find) -> Changes:
    for field in ("i", "f"):
        if attribute.HasField(field):
            old = getattr(attribute, field)
            yield "a step up", put(find, field, _next(old))
            yield "another sign", put(find, field, -old)
    if attribute.HasField("s"):
        yield "another text", put(find, "s", attribute.s + b"_")
    for field in ("ints", "floats", "strings"):
        for e, old in enumerate(getattr(attribute, field)):
            yield f"entry {e} a step up", put_entry(spot(find, field), e, _next(old))
        if getattr(attribute, field):
            yield "an entry less", at(spot(find, field), partial(drop, -1))
            yield "an entry more", at(spot(find, field), _last_again)
    if attribute.HasField("t"):
        yield from _of_tensor(attribute.t, spot(find, "t"))
    yield "another name", put(find, "name", attribute.name + "_")
    yield "another kind", put(find, "type", AttributeProto.STRINGS)
    yield "a doc string", put(find, "doc_string", "text")
    yield "a reference", put(find, "ref_attr_name", "other")


def _of_tensor(tensor: TensorProto, find: Find) -> Changes:
    for how, value in _moved(tensor):
        yield how, at(find, partial(_store, value))
    dims = list(tensor.dims)
    yield "an axis more", at(spot(find, "dims"), lambda dims: dims.append(1))
    if len(dims) > 1 and dims[0] != dims[1]:
        yield "axes exchanged", at(find, lambda t: exchange(t.dims, 0, 1))
    other = TensorProto.INT32 if tensor.data_type == TensorProto.FLOAT else TensorProto.FLOAT
    yield "another type", put(find, "data_type", other)
    yield "another spelling", at(find, _spelled_out)
    yield "a doc string", put(find, "doc_string", "text")
    yield "kept in another file", at(find, _external)


def _moved(tensor: TensorProto) -> Iterator[tuple[str, Any]]:
    """The values with one number moved, at both ends and where it is largest."""
    value = numpy_helper.to_array(tensor)
    flat = value.reshape(-1)
    if not flat.size or tensor.data_type in (TensorProto.STRING, TensorProto.BFLOAT16):
        return
    with np.errstate(invalid="ignore"):
        places = {0, flat.size - 1, int(np.argmax(np.abs(flat.astype(np.float64))))}
    for place in sorted(places):
        moved = flat.copy()
        moved[place] = _stepped(flat[place], flat.dtype)
        yield f"number {place} by one unit", moved.reshape(value.shape)
        turned = flat.copy()
        turned[place] = ~flat[place] if flat.dtype.kind == "b" else -flat[place]
        yield f"number {place} negative", turned.reshape(value.shape)
    if value.ndim and len(value) > 1:
        yield "rows turned round", np.ascontiguousarray(value[::-1])


def _stepped(number: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "b":
        return not number
    return np.nextafter(number, dtype.type(np.inf)) if dtype.kind == "f" else number + 1


def _next(value: Any) -> Any:
    if isinstance(value, float):
        return float(np.nextafter(np.float32(value), np.float32(np.inf)))
    return value + b"_" if isinstance(value, bytes) else value + 1


def _last_again(values: Any) -> None:
    values.append(values[-1])


def _store(value: Any, tensor: TensorProto) -> None:
    """The values, stored as igc stores them."""
    made = numpy_helper.from_array(value, tensor.name)
    tensor.raw_data, tensor.data_type = made.raw_data, made.data_type


def _spelled_out(tensor: TensorProto) -> None:
    """The same numbers, not as raw bytes."""
    if tensor.data_type == TensorProto.FLOAT and tensor.HasField("raw_data"):
        tensor.float_data.extend(numpy_helper.to_array(tensor).reshape(-1).tolist())
        tensor.ClearField("raw_data")


def _external(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def _more(node: onnx.NodeProto) -> None:
    node.attribute.append(helper.make_attribute("axis", 0))


def _exchange_values(i: int, j: int, graph: onnx.GraphProto) -> None:
    names = graph.initializer[i].name, graph.initializer[j].name
    exchange(graph.initializer, i, j)
    graph.initializer[i].name, graph.initializer[j].name = names
