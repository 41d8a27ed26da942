"""What no operator computes with, and other ways to write the same: header, metadata, functions,
sub-graphs, training, doc strings, fields that nobody knows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import onnx
from onnx import TensorProto, helper

from igc.testing.mutations.places import (
    Changes,
    at,
    copied,
    drop,
    in_body,
    move_to,
    nodes,
    put,
    spot,
)

#: A field of a number that ONNX does not have: 1000, with the value 1.
UNKNOWN = bytes([0xC0, 0x3E, 0x01])


def of_form(model: onnx.ModelProto) -> Changes:
    """The header, every entry of metadata, and one of each of the rest at every node."""
    for field, value in (("ir_version", model.ir_version + 1), ("producer_name", "other"),
                         ("producer_version", "9"), ("domain", "other"), ("model_version", 3),
                         ("doc_string", "text")):  # fmt: skip
        yield f"header: {field}", put(whole, field, value)
    yield "graph: name", put(spot(whole, "graph"), "name", "other")
    yield "graph: doc string", put(spot(whole, "graph"), "doc_string", "text")
    yield "graph: metadata", at(spot(whole, "graph"), _note)
    yield "graph: a quantisation", lambda m: m.graph.quantization_annotation.add(tensor_name="x")
    yield "graph: a sparse initialiser", at(spot(whole, "graph"), _sparse)
    yield (
        "training: one",
        lambda m: m.training_info.add().algorithm.node.append(
            helper.make_node("Relu", ["x"], ["y"])
        ),
    )
    yield "functions: one that nothing calls", at(whole, _function)
    yield "fields: one that ONNX does not have", at(whole, _unknown)
    yield "fields: one in the graph", at(spot(whole, "graph"), _unknown)
    for i, opset in enumerate(model.opset_import):
        for step in (-1, 1):
            yield (
                f"opset {opset.domain}: {opset.version + step}",
                put(spot(whole, "opset_import", i), "version", opset.version + step),
            )
    yield "opset: one more", lambda m: m.opset_import.add(domain="other", version=1)
    for i, entry in enumerate(model.metadata_props):
        here = spot(whole, "metadata_props", i)
        yield f"metadata {entry.key}: another value", put(here, "value", _edited(entry.value))
        yield f"metadata {entry.key}: no value", put(here, "value", "")
        yield f"metadata {entry.key}: another key", put(here, "key", f"{entry.key}_")
        yield f"metadata {entry.key}: removed", at(spot(whole, "metadata_props"), partial(drop, i))
        yield (
            f"metadata {entry.key}: twice",
            at(spot(whole, "metadata_props"), partial(_again, i)),
        )
    yield "metadata: one more", lambda m: m.metadata_props.add(key="more", value="1")
    for name, k, i, _ in nodes(model):
        body = in_body(k)
        yield f"{name}: a doc string", put(spot(body, "node", i), "doc_string", "text")
        yield f"{name}: metadata", at(spot(body, "node", i), _note)
        yield f"{name}: a field of its own", at(spot(body, "node", i), _unknown)
        yield f"{name}: inside an If", at(body, partial(_inside_if, i))
        yield f"{name}: inside a Loop", at(body, partial(_inside_loop, i))
        yield f"{name}: as a function", partial(_as_function, k, i)


def whole(model: Any) -> Any:
    """The model itself."""
    return model


def _again(i: int, values: Any) -> None:
    copied(values, i)


def _unknown(message: Any) -> None:
    message.MergeFromString(UNKNOWN)


def _edited(value: str) -> str:
    """The text with one character changed: a digit or a letter, where there is one."""
    for i, ch in reversed([*enumerate(value)]):
        if ch.isalnum():
            return value[:i] + ("1" if ch != "1" else "2") + value[i + 1 :]
    return f"{value}_"


def _note(message: Any) -> None:
    message.metadata_props.add(key="note", value="text")


def _sparse(graph: onnx.GraphProto) -> None:
    made = graph.sparse_initializer.add(dims=[2])
    made.values.CopyFrom(helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0]))
    made.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, [1], [0]))


def _function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function(
            "local", "Same", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])],
            [helper.make_opsetid("", model.opset_import[0].version)],
        )
    )  # fmt: skip


def _replaced(body: Any, i: int, made: list[onnx.NodeProto]) -> onnx.NodeProto:
    """Puts nodes in the place of node `i`, and returns a copy of that."""
    old = onnx.NodeProto()
    old.CopyFrom(body.node[i])
    del body.node[i]
    for place, node in enumerate(made, start=i):
        body.node.append(node)
        move_to(body.node, place)
    return old


def _branch(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    """A graph that gives what the node gives, under names of its own."""
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    inner.output[:] = [f"{o}_{name}" if o else "" for o in node.output]
    outputs = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in inner.output if o]
    return helper.make_graph([inner], name, [], outputs)


def _inside_if(i: int, body: Any) -> None:
    """The node in both branches of an If: it computes the same."""
    node = onnx.NodeProto()
    node.CopyFrom(body.node[i])
    true = helper.make_tensor("", TensorProto.BOOL, [], [True])
    made = helper.make_node(
        "If", ["always"], list(node.output), name="choice",
        then_branch=_branch(node, "then"), else_branch=_branch(node, "other"),
    )  # fmt: skip
    _replaced(body, i, [helper.make_node("Constant", [], ["always"], value=true), made])


def _inside_loop(i: int, body: Any) -> None:
    """The node in a Loop that runs once and stacks what it gives: one axis more."""
    node = onnx.NodeProto()
    node.CopyFrom(body.node[i])
    graph = _branch(node, "turn")
    for name, kind in (("turn", TensorProto.INT64), ("go", TensorProto.BOOL)):
        graph.input.append(helper.make_tensor_value_info(name, kind, []))
    graph.node.append(helper.make_node("Identity", ["go"], ["go_on"]))
    graph.output.insert(0, helper.make_tensor_value_info("go_on", TensorProto.BOOL, []))
    once = helper.make_tensor("", TensorProto.INT64, [], [1])
    made = helper.make_node("Loop", ["once", ""], list(node.output), name="loop", body=graph)
    _replaced(body, i, [helper.make_node("Constant", [], ["once"], value=once), made])


def _as_function(k: int, i: int, model: onnx.ModelProto) -> None:
    """The node as the only one of a function of the model's own: it computes the same."""
    body = in_body(k)(model)
    node = onnx.NodeProto()
    node.CopyFrom(body.node[i])
    reads, gives = list(dict.fromkeys(n for n in node.input if n)), list(node.output)
    call = helper.make_node("Own", reads, gives, name=node.name, domain="local")
    _replaced(body, i, [call])
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    model.functions.append(helper.make_function("local", "Own", reads, gives, [node], opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
