"""What a file declares of its inputs and outputs is a difference where the network has it not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from verify_nets import Pair, write_onnx

from igc.capture import capture
from igc.program import Program
from igc.verification import verify

Change = Callable[[onnx.GraphProto], object]


def renamed(graph: onnx.GraphProto) -> None:
    graph.input[0].name = "picture"
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "picture" if name == "x" else name


def dim(value: onnx.ValueInfoProto, axis: int) -> onnx.TensorShapeProto.Dimension:
    return value.type.tensor_type.shape.dim[axis]


def in_double(graph: onnx.GraphProto) -> None:
    """The first output in float64, by a cast of the same values."""
    name = graph.output[0].name
    for node in graph.node:
        for i, made in enumerate(node.output):
            node.output[i] = "single" if made == name else made
    graph.node.append(helper.make_node("Cast", ["single"], [name], to=TensorProto.DOUBLE))
    graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def taken_in_double(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "single" if name == "x" else name
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["single"], to=TensorProto.FLOAT))


CHANGES: dict[str, tuple[Change, str]] = {
    "name": (renamed, "input 'picture': the network calls it 'x'"),
    "output type": (in_double, "type: output 'seg' is double, in the network float32"),
    "input type": (taken_in_double, "type: input 'x' is double, in the network float32"),
    "fixed batch": (lambda g: setattr(dim(g.input[0], 0), "dim_value", 2), "fixed at 2 at axis 0"),
    "open channels": (lambda g: setattr(dim(g.input[0], 1), "dim_param", "c"), "open at axis 1"),
    "fixed output": (
        lambda g: setattr(dim(g.output[1], 0), "dim_value", 2), "size: 'depth' is declared as 2x3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_difference_is_told(change: str, nets: Pair, tmp_path: Path) -> None:
    path = write_onnx(nets.sliced, tmp_path / "m.onnx")
    model = onnx.load(path)
    assert verify(nets.reference, path).passed
    made, words = CHANGES[change]
    made(model.graph)
    onnx.save(model, path)
    check = verify(nets.reference, path)
    assert not check.passed
    assert any(words in f and "m.onnx" in f for f in check.failures), str(check)


class Two(nn.Module):
    """Two inputs that could be taken for each other."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b


def two(names: tuple[str, str], path: Path) -> tuple[Program, Path]:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3]) for n in names]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])
    node = helper.make_node("Sub", ["a", "b"], ["output"])
    graph = helper.make_graph([node], "two", values, [output])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return capture(Two(), (torch.randn(2, 3), torch.randn(2, 3))), path


def test_the_order_of_inputs_is_told_though_names_and_values_fit(tmp_path: Path) -> None:
    assert verify(*two(("a", "b"), tmp_path / "m.onnx")).passed
    check = verify(*two(("b", "a"), tmp_path / "m.onnx"))
    assert not check.passed
    assert all(out.passed for out in check.outputs.values())
    assert any("input 'b': the network calls it 'a'" in f for f in check.failures)
