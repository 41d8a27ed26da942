"""Translation validation: what igc writes is shown, for every input; what was planted is not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from triggers import TRIGGERS, Planter

import igc
from igc.audit.translation.validate import validate
from igc.capture import capture
from igc.program import Program
from igc.testing.mutations import mutations

TASKS = ("a", "b")


class Image(nn.Module):
    """Strided and grouped convolutions, a shortcut, pooling, squeeze and excitation, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.mid = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8))
        self.squeeze = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.mid(x)
        y = x + y * torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True)))
        y = nn.functional.max_pool2d(torch.relu(y), 3, 2, 1)
        y = nn.functional.interpolate(y, scale_factor=2, mode="bilinear")
        z: Tensor = self.last(y)
        return z


class Tokens(nn.Module):
    """Patches, a class token, a table of positions, attention, layer norms."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 5, 8))
        self.norm, self.after = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1) + self.places
        parts = self.qkv(self.norm(y)).reshape(y.shape[0], 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        z = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        y = y + self.out(z.transpose(1, 2).reshape(y.shape[0], 5, 8))
        y = y + self.mlp(self.after(y))
        first: Tensor = y[:, 0]
        return first


NETS: dict[str, Callable[[], tuple[nn.Module, list[str], nn.Module]]] = {
    "image": lambda: (Image(), ["stem.0", "mid.0", "last"], nn.Conv2d(8, 2, 1)),
    "tokens": lambda: (Tokens(), ["qkv", "mlp.0", "mlp.2"], nn.Linear(8, 2)),
}


def made(name: str, folder: Path) -> tuple[Program, onnx.ModelProto]:
    torch.manual_seed(0)
    backbone, at, head = NETS[name]()
    x = torch.randn(2, 3, 8, 8)
    heads = {t: copy.deepcopy(head) for t in TASKS}
    net = igc.gate(backbone, heads, at=at, example_inputs=(x,)).eval()
    with torch.no_grad():
        for key, value in net.named_parameters():
            value.copy_(torch.randn(value.shape) * 0.5)
            if "norm" in key or key.endswith("1.weight"):
                value.add_(1.0)
        for key, value in net.named_buffers():
            if key.endswith("running_var"):
                value.copy_(torch.rand(value.shape) + 0.5)
    igc.export_onnx(igc.compile(net, (x,)), folder / "m.onnx")
    return capture(net, (x,)), onnx.load(folder / "m.onnx")


@pytest.fixture(scope="module", params=NETS)
def pair(request, tmp_path_factory) -> tuple[Program, onnx.ModelProto]:
    return made(request.param, tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> tuple[Program, onnx.ModelProto]:
    return made("image", tmp_path_factory.mktemp("net"))


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def test_what_igc_writes_is_shown(pair) -> None:
    program, model = pair
    found = validate(model, program)
    assert found.stopped == ""
    assert found.findings == ()
    assert found.outputs == TASKS
    assert found.nodes == len(model.graph.node)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_trigger_is_not_shown(image, trigger: str) -> None:
    program, model = image
    planted = Planter(copied(model)).replace(TRIGGERS[trigger])
    found = validate(planted, program)
    assert not found.shown


def test_the_planter_alone_does_no_harm(image) -> None:
    program, model = image
    assert validate(Planter(copied(model)).replace(lambda _, y: y), program).shown


@pytest.mark.slow
def test_a_changed_weight_is_not_shown(pair) -> None:
    program, model = pair
    for number, tensor in enumerate(model.graph.initializer):
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or not value.any():
            continue
        changed = value.copy()
        place = np.unravel_index(np.abs(value).argmax(), value.shape)
        changed[place] *= 1 + 1e-4
        other = copied(model)
        other.graph.initializer[number].CopyFrom(numpy_helper.from_array(changed, tensor.name))
        assert not validate(other, program).shown, tensor.name


def test_exchanged_inputs_and_outputs_are_not_shown(image) -> None:
    program, model = image
    names = {"a": "b", "b": "a"}
    other = copied(model)
    for node in other.graph.node:
        node.output[:] = [names.get(o, o) for o in node.output]
    assert "output 'a'" in validate(other, program).stopped
    reordered = copied(model)
    outputs = [reordered.graph.output[i] for i in (1, 0)]
    swapped = [onnx.ValueInfoProto() for _ in outputs]
    for new, old in zip(swapped, outputs, strict=True):
        new.CopyFrom(old)
    del reordered.graph.output[:]
    reordered.graph.output.extend(swapped)
    assert validate(reordered, program).findings == ("outputs: not the network's, in its order",)


@pytest.mark.parametrize(
    "what", ["function", "training", "metadata", "opset", "external", "unread node", "twice",
             "fixed batch", "one size", "doc string", "own field", "unread tensor", "type"],
)  # fmt: skip
def test_what_a_file_holds_besides_is_a_finding(image, what: str) -> None:
    program, model = image
    other = copied(model)
    graph = other.graph
    if what == "function":
        node = helper.make_node("Relu", ["x"], ["y"])
        opset = [helper.make_opsetid("", 20)]
        other.functions.append(helper.make_function("own", "F", ["x"], ["y"], [node], opset))
    elif what == "training":
        other.training_info.add()
    elif what == "metadata":
        other.metadata_props.add(key="note", value="mine")
    elif what == "opset":
        other.opset_import[0].version = 21
    elif what == "external":
        graph.initializer[0].external_data.add(key="location", value="x.bin")
    elif what == "unread node":
        graph.node.append(helper.make_node("Relu", [graph.input[0].name], ["unread"]))
    elif what == "twice":
        graph.node.append(helper.make_node("Relu", [graph.input[0].name], ["a"]))
    elif what == "fixed batch":
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    elif what == "one size":
        dims = graph.input[0].type.tensor_type.shape.dim
        dims[2].dim_param = dims[3].dim_param
    elif what == "own field":
        graph.node[0].MergeFromString(b"\xc2\x3e\x01x")  # field 1000
    elif what == "doc string":
        graph.node[0].doc_string = "mine"
    elif what == "unread tensor":
        graph.initializer.append(numpy_helper.from_array(np.zeros(3), "unread"))
    else:
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    found = validate(other, program)
    assert len(found.findings) >= 1
    assert not found.shown


def test_an_operator_that_is_not_in_the_table_is_named(image) -> None:
    program, model = image
    other = copied(model)
    node = next(n for n in other.graph.node if n.op_type == "Relu")
    node.op_type = "Softsign"
    assert validate(other, program).stopped.endswith("an operator that igc does not write")


def test_an_attribute_that_is_not_read_is_named(image) -> None:
    program, model = image
    other = copied(model)
    node = next(n for n in other.graph.node if n.op_type == "Conv")
    node.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert "auto_pad" in validate(other, program).stopped


#: Changes of a file after which it computes the same, up to rounding.
HARMLESS = re.compile(
    r"by one unit|another spelling|a step up$|a step down$|an Identity$|renamed$|another name$|"
    r"behind the next$|a symbol of its own$|output \w+: size \d+ open$|untold$|denoted$|"
    r"node (Add|Mul|Concat)_\d+: (inputs \d+, \d+ exchanged|one more input|reads \w+ as input)|"
    r"initialiser index\S*: number \d+ negative$"
)


@pytest.mark.slow
def test_changes_of_a_file_are_not_shown_unless_they_are_harmless(image) -> None:
    program, model = image
    kinds = ("value", "wiring", "interface")
    tried = [made for n, made in enumerate(mutations(model, kinds)) if n % 23 == 0]
    shown = [name for name, changed in tried if validate(changed, program).shown]
    assert len(shown) < len(tried) / 3
    assert [name for name in shown if not HARMLESS.search(name)] == []
