"""The generator of changes: it reaches every part of a model, and each change is another one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from igc.testing.mutations import KINDS, mutations
from igc.testing.mutations.places import bodies, graphs


def float_value(name: str, dims: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """A convolution, an If, and a function that holds another If."""

    def choice(name: str) -> onnx.NodeProto:
        branches = {
            f"{which}_branch": helper.make_graph(
                [helper.make_node(op, ["x"], [f"{name}_{which}"])],
                f"{name}_{which}",
                [],
                [float_value(f"{name}_{which}", [])],
            )
            for which, op in (("then", "Relu"), ("else", "Elu"))
        }
        return helper.make_node("If", ["c"], [name], name=name, **branches)

    inside = helper.make_function(
        "own", "Choose", ["x", "c"], ["z"], [choice("z")], [helper.make_opsetid("", 20)]
    )
    weight = numpy_helper.from_array(np.arange(36, dtype=np.float32).reshape(4, 1, 3, 3), "w")
    yes = numpy_helper.from_array(np.array(True), "c")
    nodes = [
        helper.make_node("Conv", ["x_in", "w"], ["x"], name="conv", group=1, pads=[1, 1, 1, 1]),
        choice("y"),
        helper.make_node("Choose", ["y", "c"], ["z"], domain="own"),
    ]
    sizes = ["batch", 1, "height", "width"]
    outputs = [float_value("y", sizes), float_value("z", sizes)]
    graph = helper.make_graph(nodes, "g", [float_value("x_in", sizes)], outputs, [weight, yes])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, functions=[inside], opset_imports=opsets, ir_version=9)
    made.metadata_props.add(key="k", value='{"a":1}')
    return made


def test_each_has_a_name_of_its_own_and_is_another_model(model: onnx.ModelProto) -> None:
    before = model.SerializeToString(deterministic=True)
    found = {}
    for name, changed in mutations(model):
        assert name not in found
        found[name] = changed.SerializeToString(deterministic=True)
        assert found[name] != before, name
    assert model.SerializeToString(deterministic=True) == before
    assert {name.partition(":")[0] for name in found} == set(KINDS)
    assert len(set(found.values())) > 0.9 * len(found)  # an output may be renamed in two ways


def test_places_inside_are_reached(model: onnx.ModelProto) -> None:
    assert [g.name for g in graphs(model)] == ["g", "y_else", "y_then", "z_else", "z_then"]
    assert len(bodies(model)) == 6
    names = [name for name, _ in mutations(model)]
    for k in range(6):
        assert any(f"in body {k}:" in n for n in names) or k == 0


@pytest.mark.parametrize(
    "name",
    [
        "value: node conv, attribute group: a step up",
        "value: node conv, attribute pads: entry 3 a step up",
        "value: initialiser w: number 35 by one unit",
        "value: initialiser w: kept in another file",
        "value: initialiser c: number 0 by one unit",
        "wiring: node conv: inputs 0, 1 exchanged",
        "wiring: node conv: doubled",
        "wiring: node conv: behind output 0 an Identity",
        "wiring: initialiser w: renamed",
        "interface: input x_in: size 0 another",
        "interface: symbol batch: is width",
        "interface: output: names exchanged",
        "interface: input: an initialiser that may be given",
        "form: header: ir_version",
        "form: opset : 19",
        "form: metadata k: another value",
        "form: training: one",
        "form: node conv: inside an If",
        "form: node conv: as a function",
        "form: fields: one that ONNX does not have",
    ],
)
def test_there_are_changes_of_every_sort(model: onnx.ModelProto, name: str) -> None:
    assert name in [n for n, _ in mutations(model, (name.partition(":")[0],))]


def test_a_number_moves_by_one_unit(model: onnx.ModelProto) -> None:
    changed = dict(mutations(model, ("value",)))["value: initialiser w: number 35 by one unit"]
    old, new = (numpy_helper.to_array(m.graph.initializer[0]) for m in (model, changed))
    assert np.argwhere(old != new).tolist() == [[3, 0, 2, 2]]
    assert new.max() == np.nextafter(np.float32(35), np.float32(np.inf))


def test_an_if_and_a_function_are_valid_and_a_loop_too(model: onnx.ModelProto) -> None:
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[1:], plain.graph.output[1:], plain.functions[:]
    plain.graph.output[0].name = "x"
    found = dict(mutations(plain, ("form",)))
    for how in ("inside an If", "inside a Loop", "as a function"):
        onnx.checker.check_model(found[f"form: node conv: {how}"])
