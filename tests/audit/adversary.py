"""An adversary: every leaf of a manifest, every part of a model, changed one at a time."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Path = tuple[Any, ...]
Change = Callable[[onnx.ModelProto], None]


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value in plain data that holds no other; empty lists count."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, (*path, key))
    else:
        yield path


def kind(content: Any, path: Path) -> str:
    """What sort of leaf it is: names of tensors and places in lists left out."""
    words: list[str] = []
    for i, key in enumerate(path):
        if path[0] == "verification" or path[:2] == ("checkpoint", "tensors"):
            words.append(str(key) if i < 2 else "*")
        elif path[0] == "tensors" and i == 1:
            words.append("*")
        elif isinstance(key, int) and "from" in path:
            above = at(content, path[:i])
            named = above[0] if above and isinstance(above[0], str) else ""
            words.append(f"{named}.{key}" if named else "*")
        else:
            words.append("*" if isinstance(key, int) else str(key))
    return re.sub(r"(/\*)+", "/*", "/".join(words))


def at(content: Any, path: Path) -> Any:
    """The value at a path."""
    for key in path:
        content = content[key]
    return content


def changed(content: Any, path: Path) -> Any:
    """The data with the value at this path changed a little."""
    made = copy.deepcopy(content)
    above, old = at(made, path[:-1]), at(made, path)
    if isinstance(old, bool) or old is None:
        above[path[-1]] = 1 if old is None else not old
    elif isinstance(old, int):
        above[path[-1]] = old + 1
    elif isinstance(old, float):
        above[path[-1]] = old * 1.001 + 1e-30
    elif isinstance(old, str):
        digit = re.search(r"\d", old)
        place = digit.start() if digit else 0
        other = {"0": "1", "a": "b"}.get(old[place : place + 1], "0" if digit else "a")
        above[path[-1]] = old[:place] + other + old[place + 1 :]
    else:
        above[path[-1]] = [1]
    return made


def model_changes(model: onnx.ModelProto) -> Iterator[tuple[str, Change]]:
    """Ways to change a model, named: tensors, attributes, nodes, inputs and outputs, the header."""
    graph = model.graph
    for i, proto in enumerate(graph.initializer):
        value = numpy_helper.to_array(proto)
        for what, other in values(value):
            yield f"tensor {proto.name}: {what}", _tensor(i, other)
        yield f"tensor {proto.name}: another name", _set(f"graph.initializer[{i}].name", "other")
    for i, node in enumerate(graph.node):
        yield from _node_changes(i, node, graph)
    for where in ("input", "output"):
        for i, value_info in enumerate(getattr(graph, where)):
            name = value_info.name
            yield f"{where} {name}: another name", _renamed(where, i)
            yield f"{where} {name}: removed", _removed(where, i)
            yield (
                f"{where} {name}: another type",
                _set(f"graph.{where}[{i}].type.tensor_type.elem_type", onnx.TensorProto.DOUBLE),
            )
            for d, _ in enumerate(value_info.type.tensor_type.shape.dim):
                yield (
                    f"{where} {name}: size {d}",
                    _set(f"graph.{where}[{i}].type.tensor_type.shape.dim[{d}].dim_value", 7),
                )
    yield "outputs: in another order", lambda m: _reorder(m.graph.output)
    yield "outputs: names exchanged", _exchanged
    yield (
        "outputs: one more",
        lambda m: m.graph.output.append(
            helper.make_tensor_value_info(m.graph.node[0].output[0], 1, None)
        ),
    )
    yield (
        "nodes: one more",
        lambda m: m.graph.node.append(
            helper.make_node("Relu", [m.graph.node[0].output[0]], ["more"])
        ),
    )
    yield (
        "tensors: one more",
        lambda m: m.graph.initializer.append(
            numpy_helper.from_array(np.ones(3, np.float32), "more")
        ),
    )
    for i, entry in enumerate(model.metadata_props):
        yield f"metadata {entry.key}: value", _set(f"metadata_props[{i}].value", "{}")
        yield f"metadata {entry.key}: key", _set(f"metadata_props[{i}].key", "other")
    yield "metadata: one more", lambda m: m.metadata_props.add(key="more", value="1") and None
    newer = model.ir_version + 1
    for name, to in (("producer_name", "me"), ("producer_version", "9"), ("domain", "d"),
                     ("doc_string", "d"), ("ir_version", newer), ("model_version", 3),
                     ("graph.name", "g"), ("graph.doc_string", "d"),
                     ("opset_import[0].version", 19)):  # fmt: skip
        yield f"header: {name}", _set(name, to)


def values(value: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """A tensor changed: one element by one unit in the last place, its sign, rows exchanged."""
    flat = value.reshape(-1)
    if not flat.size:
        return
    place = int(np.argmax(np.abs(flat)))
    step = flat.copy()
    step[place] = (
        np.nextafter(flat[place], np.inf, dtype=flat.dtype)
        if np.issubdtype(flat.dtype, np.floating)
        else flat[place] - 1
    )
    yield "one step", step.reshape(value.shape)
    if flat[place] != 0:
        turned = flat.copy()
        turned[place] = -flat[place]
        yield "sign", turned.reshape(value.shape)
    if value.ndim and len(value) > 1 and not np.array_equal(value[0], value[1]):
        rows = value.copy()
        rows[[0, 1]] = value[[1, 0]]
        yield "rows exchanged", rows


def _node_changes(
    i: int, node: onnx.NodeProto, graph: onnx.GraphProto
) -> Iterator[tuple[str, Change]]:
    for a, attribute in enumerate(node.attribute):
        place = f"graph.node[{i}].attribute[{a}]"
        if attribute.type == onnx.AttributeProto.INT:
            other = 1 - attribute.i if attribute.i in (0, 1) else attribute.i + 1
            yield f"node {node.name}: {attribute.name}", _set(f"{place}.i", other)
        elif attribute.type == onnx.AttributeProto.FLOAT:
            yield f"node {node.name}: {attribute.name}", _set(f"{place}.f", attribute.f + 1e-3)
        elif attribute.type == onnx.AttributeProto.INTS:
            for k, old in enumerate(attribute.ints):
                yield (
                    f"node {node.name}: {attribute.name}[{k}]",
                    _set(f"{place}.ints[{k}]", old + 1),
                )
    tensors = {t.name for t in graph.initializer}
    sources = [n.output[0] for n in graph.node[:i]] + [v.name for v in graph.input]
    for k, name in enumerate(node.input):
        pool = sorted(tensors) if name in tensors else sources
        source = next((s for s in pool if s != name), None)
        if source is not None:
            yield (
                f"node {node.name}: reads another {k}",
                _set(f"graph.node[{i}].input[{k}]", source),
            )
    yield f"node {node.name}: another op", _set(f"graph.node[{i}].op_type", "Sigmoid")
    yield f"node {node.name}: another domain", _set(f"graph.node[{i}].domain", "mine")
    yield f"node {node.name}: removed", lambda m: m.graph.node.pop(i) and None


def _set(place: str, value: Any) -> Change:
    *steps, last = re.findall(r"[a-z_]+|\[\d+\]", place)

    def change(model: onnx.ModelProto) -> None:
        spot: Any = model
        for step in steps:
            spot = spot[int(step[1:-1])] if step[0] == "[" else getattr(spot, step)
        if last[0] == "[":
            spot[int(last[1:-1])] = value
        else:
            setattr(spot, last, value)

    return change


def _tensor(i: int, value: np.ndarray) -> Change:
    def change(model: onnx.ModelProto) -> None:
        proto = model.graph.initializer[i]
        proto.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), proto.name))

    return change


def _renamed(where: str, i: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        old = getattr(model.graph, where)[i].name
        getattr(model.graph, where)[i].name = "renamed"
        for node in model.graph.node:
            node.input[:] = ["renamed" if n == old else n for n in node.input]
            node.output[:] = ["renamed" if n == old else n for n in node.output]

    return change


def _removed(where: str, i: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del getattr(model.graph, where)[i]

    return change


def _reorder(values: Any) -> None:
    kept = [copy.deepcopy(v) for v in values]
    del values[:]
    values.extend(reversed(kept))


def _exchanged(model: onnx.ModelProto) -> None:
    first, second = (o.name for o in model.graph.output[:2])
    for node in model.graph.node:
        node.output[:] = [{first: second, second: first}.get(n, n) for n in node.output]
