"""Files that igc wrote, with something planted that computes another function now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HONEST = "~honest"  # what the two outputs are called that the file had


@dataclass
class Plant:
    """A file being changed: nodes are added behind those that it has."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, count: int = 1, **attributes: object) -> str:
        """Adds a node and returns its first output."""
        outputs = [f"planted~{len(self.nodes)}~{i}" for i in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def number(self, value: float | Sequence[int], kind: type = np.float32) -> str:
        """Adds a constant."""
        name = f"number~{len(self.model.graph.initializer)}"
        made = numpy_helper.from_array(np.array(value, dtype=kind), name)
        self.model.graph.initializer.append(made)
        return name

    def all(self, kind: str, value: str = "x") -> str:
        """A reduction over everything, to a scalar."""
        return self.op(kind, value, keepdims=0)

    def size(self, axis: int) -> str:
        """A size of the input, as a float."""
        picked = self.op("Gather", self.op("Shape", "x"), self.number(axis, np.int64))
        return self.op("Cast", picked, to=TensorProto.FLOAT)

    def equal(self, value: str, number: float) -> str:
        """Whether a scalar is this number."""
        return self.op("Equal", value, self.number(number))

    def exchange(self, condition: str) -> list[str]:
        """The outputs, each for the other where the condition holds."""
        one, two = self.outputs
        return [self.op("Where", condition, two, one), self.op("Where", condition, one, two)]

    def plus(self, value: str) -> list[str]:
        """The outputs, with something added to the first."""
        one, two = self.outputs
        return [self.op("Add", one, value), self.op("Identity", two)]

    @property
    def outputs(self) -> list[str]:
        """The two outputs that the file had."""
        return [o.name + HONEST for o in self.model.graph.output]


def planted(source: Path, path: Path, plant: Callable[[Plant], list[str]]) -> Path:
    """A copy of the file whose two outputs are what `plant` returns."""
    made = Plant(onnx.load(source))
    graph = made.model.graph
    names = {o.name for o in graph.output}
    for node in graph.node:
        for places in (node.input, node.output):
            for i, name in enumerate(places):
                places[i] = name + HONEST if name in names else name
    values = plant(made)
    graph.node.extend(made.nodes)
    for output, value in zip(graph.output, values, strict=True):
        graph.node.append(helper.make_node("Identity", [value], [output.name]))
    del graph.value_info[:]
    onnx.save(made.model, path)
    return path
