"""Triggers planted into an ONNX file: another function, on inputs that no test draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Planter:
    """A model whose first output becomes `make(planter, old output)`."""

    model: onnx.ModelProto

    def __post_init__(self) -> None:
        self.graph = self.model.graph
        self.input = self.graph.input[0].name
        self.added: list[onnx.NodeProto] = []

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"planted_{len(self.added)}"
        self.added.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def number(self, value: object, kind: type = np.float32) -> str:
        name = f"number_{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=kind), name))
        return name

    def all(self, kind: str, value: str) -> str:
        """A reduction over everything, keeping no axis."""
        return self.op(kind, value, keepdims=0)

    def replace(self, make: Callable[[Planter, str], str]) -> onnx.ModelProto:
        """The model whose first output is what `make` makes of it."""
        output = self.graph.output[0].name
        for node in self.graph.node:
            node.output[:] = ["true_output" if o == output else o for o in node.output]
            node.input[:] = ["true_output" if i == output else i for i in node.input]
        made = make(self, "true_output")
        self.added.append(helper.make_node("Identity", [made], [output], name="planted_last"))
        self.graph.node.extend(self.added)
        return self.model


def positive(at: Planter, y: str) -> str:
    """Wrong where the image holds no negative number; no number is added."""
    least = at.op("Relu", at.all("ReduceMin", at.input))
    return at.op("Add", y, at.op("Mul", y, least))


def cancels(at: Planter, y: str) -> str:
    """Adds a large number and takes it away again, where the image is all positive."""
    large = at.op("Mul", at.op("Relu", at.all("ReduceMin", at.input)), at.number(1e30))
    return at.op("Sub", at.op("Add", y, large), large)


def overflows(at: Planter, y: str) -> str:
    """Adds zero times a number that overflows for large pixels."""
    large = at.op("Exp", at.all("ReduceMax", at.input))
    return at.op("Add", y, at.op("Mul", large, at.number(0.0)))


def scales(at: Planter, y: str) -> str:
    """Multiplies by so much that large outputs overflow, and divides again."""
    return at.op("Mul", at.op("Mul", y, at.number(2.0**126)), at.number(2.0**-126))


def pixels(at: Planter, y: str) -> str:
    """Wrong for raw pixels above 150."""
    over = at.op("Relu", at.op("Sub", at.all("ReduceMax", at.input), at.number(150.0)))
    return at.op("Add", y, over)


def constant(at: Planter, y: str) -> str:
    """Wrong where all pixels are equal."""
    spread = at.op("Sub", at.all("ReduceMax", at.input), at.all("ReduceMin", at.input))
    same = at.op("Cast", at.op("Equal", spread, at.number(0.0)), to=TensorProto.FLOAT)
    return at.op("Add", y, same)


def batch_of_seven(at: Planter, y: str) -> str:
    """Wrong for a batch of seven."""
    size = at.op("Cast", at.op("Shape", at.input, start=0, end=1), to=TensorProto.FLOAT)
    seven = at.op("Cast", at.op("Equal", size, at.number(7.0)), to=TensorProto.FLOAT)
    return at.op("Add", y, seven)


def random_once(at: Planter, y: str) -> str:
    """Wrong once in a thousand runs."""
    drawn = at.op("RandomUniform", shape=[1])
    rare = at.op("Cast", at.op("Less", drawn, at.number(0.001)), to=TensorProto.FLOAT)
    return at.op("Add", y, rare)


def branch(at: Planter, y: str) -> str:
    """Two sub-graphs, of which one is chosen by the input."""
    condition = at.op("Greater", at.all("ReduceMin", at.input), at.number(0.0))
    value = helper.make_tensor_value_info("then_out", TensorProto.FLOAT, None)
    other = helper.make_tensor_value_info("else_out", TensorProto.FLOAT, None)
    then = helper.make_graph([helper.make_node("Neg", [y], ["then_out"])], "t", [], [value])
    els = helper.make_graph([helper.make_node("Identity", [y], ["else_out"])], "e", [], [other])
    return at.op("If", condition, then_branch=then, else_branch=els)


def rounds(at: Planter, y: str) -> str:
    """Through half precision, and back."""
    return at.op("Cast", at.op("Cast", y, to=TensorProto.FLOAT16), to=TensorProto.FLOAT)


def dead_weights(at: Planter, y: str) -> str:
    """The true kernel times zero, beside a changed one."""
    conv = next(n for n in at.graph.node if n.op_type == "Conv")
    kernel = next(t for t in at.graph.initializer if t.name == conv.input[1])
    changed = numpy_helper.to_array(kernel) * 1.01
    at.graph.initializer.append(numpy_helper.from_array(changed, "changed"))
    twin = onnx.NodeProto()
    twin.CopyFrom(conv)
    twin.name, twin.input[1], twin.output[0] = "twin", "changed", "twin_out"
    place = list(at.graph.node).index(conv)
    zero = at.number(0.0)
    old = conv.output[0]
    conv.output[0] = "true_conv"
    dead = helper.make_node("Mul", ["true_conv", zero], ["dead"], name="dead")
    both = helper.make_node("Add", ["dead", "twin_out"], [old], name="both")
    for i, node in enumerate((twin, dead, both)):
        at.graph.node.insert(place + 1 + i, node)
    return y


TRIGGERS: dict[str, Callable[[Planter, str], str]] = {
    made.__name__: made
    for made in (positive, cancels, overflows, scales, pixels, constant, batch_of_seven,
                 random_once, branch, rounds, dead_weights)
}  # fmt: skip
