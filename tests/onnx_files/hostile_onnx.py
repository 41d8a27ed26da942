"""Hostile ONNX files, each made from the good one of the tiny network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Spoil = Callable[[onnx.ModelProto, Path], None]


def outside(location: str, offset: int | None = None) -> Spoil:
    """The first weight kept in a file of its own."""

    def spoil(model: onnx.ModelProto, folder: Path) -> None:
        os.symlink(folder.parent / "secret.bin", folder / "link.bin")
        os.mkfifo(folder / "pipe.bin")
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
        if offset is not None:
            weight.external_data.add(key="offset", value=str(offset))

    return spoil


def constant(name: str, value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value)))


def behind(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Puts nodes behind the network: they read `before` and have to give its output."""
    (output,) = [o.name for o in model.graph.output]
    for node in model.graph.node:
        node.output[:] = ["before" if n == output else n for n in node.output]
    model.graph.node.extend(nodes)


def loop(model: onnx.ModelProto, _: Path) -> None:
    """Adds to itself 2**62 times."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []),
         info("a", TensorProto.FLOAT, None)],
        [info("on", TensorProto.BOOL, []), info("b", TensorProto.FLOAT, None)],
    )  # fmt: skip
    behind(
        model,
        constant("n", np.int64(1 << 62)),
        constant("yes", True),
        helper.make_node("Loop", ["n", "yes", "before"], [model.graph.output[0].name], body=body),
    )


def cycle(model: onnx.ModelProto, _: Path) -> None:
    model.graph.node.append(helper.make_node("Add", ["second", "x"], ["first"]))
    model.graph.node.append(helper.make_node("Add", ["first", "x"], ["second"]))


def dangling(model: onnx.ModelProto, _: Path) -> None:
    model.graph.node.append(helper.make_node("Relu", ["nowhere"], ["y"]))


def terabytes(model: onnx.ModelProto, _: Path) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]


def negative(model: onnx.ModelProto, _: Path) -> None:
    model.graph.initializer[0].dims[:] = [-3, 4]


def escapes(model: onnx.ModelProto, _: Path) -> None:
    model.graph.node[0].name = "\x1b]0;owned\x07"


def escapes_in_a_domain(model: onnx.ModelProto, _: Path) -> None:
    model.graph.node[0].domain = "\x1b[2J"


def escapes_in_an_attribute(model: onnx.ModelProto, _: Path) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("\x1b[2J", 1))


def no_outputs(model: onnx.ModelProto, _: Path) -> None:
    del model.graph.output[:]


def unmade_output(model: onnx.ModelProto, _: Path) -> None:
    model.graph.output[0].name = "never"


def functions(model: onnx.ModelProto, levels: int, last: str) -> None:
    """Functions that each call the next one twice; the last one calls `last`."""
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("evil", 1)]
    for level in range(levels):
        calls = last if level == levels - 1 else f"f{level + 1}"
        domain = "evil" if calls.startswith("f") else ""
        body = [
            helper.make_node(calls, ["a"], ["b"], domain=domain),
            helper.make_node(calls, ["b"], ["c"], domain=domain),
        ]
        made = helper.make_function("evil", f"f{level}", ["a"], ["c"], body, opset)
        model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("evil", 1))
    behind(model, helper.make_node("f0", ["before"], [model.graph.output[0].name], domain="evil"))


CASES: dict[str, tuple[Spoil, str]] = {
    "data above the folder": (outside("../secret.bin"), "outside the model's folder"),
    "data deep above the folder": (outside("a/../../secret.bin"), "outside the model's folder"),
    "data at an absolute path": (outside("/etc/passwd"), "outside the model's folder"),
    "data behind a link": (outside("link.bin"), "outside the model's folder"),
    "data in a device": (outside("/dev/zero"), "outside the model's folder"),
    "data in a pipe": (outside("pipe.bin"), "no ordinary file"),
    "data nowhere": (outside("nothing.bin"), "cannot be read"),
    "data in the folder itself": (outside("."), "outside the model's folder"),
    "data without a name": (outside(""), "outside the model's folder"),
    "data with a nul": (outside("a\0b"), "outside the model's folder"),
    "data past the end": (outside("model.onnx", 1 << 60), "too short"),
    "cycle": (cycle, "a cycle, or a piece is missing"),
    "dangling name": (dangling, "a cycle, or a piece is missing"),
    "terabytes": (terabytes, "more than the file holds"),
    "negative size": (negative, "negative size"),
    "terminal escapes": (escapes, "unprintable"),
    "terminal escapes in a domain": (escapes_in_a_domain, "unprintable"),
    "terminal escapes in an attribute": (escapes_in_an_attribute, "unprintable"),
    "no outputs": (no_outputs, "no outputs"),
    "an output that nothing gives": (unmade_output, "nothing gives its output"),
    "a function that calls itself": (lambda m, _: functions(m, 3, "f0"), "calls itself"),
    "a billion laughs": (lambda m, _: functions(m, 40, "Relu"), "more than 50000 nodes"),
}
