"""Triggers planted in a file that igc compiled: each is found, or listed as what is not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from plants import Plant, planted
from verify_nets import Gated, inputs

from igc.capture import capture
from igc.compiler import compilation
from igc.delivery import export_onnx
from igc.onnx_files.findings import findings
from igc.program import Program
from igc.verification import Check, verify
from igc.verification.side import Memo

Planting = Callable[[Plant], list[str]]


@dataclass(frozen=True)
class Compiled:
    """A gated network, and the file that igc made of it."""

    gated: Program
    file: Path
    memo: Memo

    def check(self, file: Path) -> Check:
        """The verdict on a file; the gated network is run once for all."""
        return verify(self.gated, file, memo=self.memo)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Pictures of 24 x 24."""
    path = tmp_path_factory.mktemp("planted") / "honest.onnx"
    program = capture(Gated().eval(), inputs(2, 24))
    export_onnx(compilation(program).static, path)
    return Compiled(program, path, {})


def least(p: Plant) -> str:
    return p.all("ReduceMin")


def most(p: Plant) -> str:
    return p.all("ReduceMax")


def no_negative(p: Plant) -> str:
    return p.op("GreaterOrEqual", least(p), p.number(0))


def all_equal(p: Plant) -> str:
    return p.op("Equal", least(p), most(p))


def same_samples(p: Plant) -> str:
    """The first sample is the last one, and there are more than one."""
    first = p.op("Slice", "x", *[p.number([n], np.int64) for n in (0, 1, 0)])
    last = p.op("Slice", "x", *[p.number([n], np.int64) for n in (-1, 2**62, 0)])
    gap = p.all("ReduceMax", p.op("Abs", p.op("Sub", first, last)))
    several = p.op("Greater", p.size(0), p.number(1))
    return p.op("And", p.equal(gap, 0.0), several)


def whole_255ths(p: Plant) -> str:
    many = p.op("Mul", "x", p.number(255))
    gap = p.all("ReduceMax", p.op("Abs", p.op("Sub", many, p.op("Round", many))))
    return p.op("Less", gap, p.number(1e-3))


def odd_width(p: Plant) -> str:
    return p.equal(p.op("Mod", p.size(3), p.number(2), fmod=1), 1)


def oblong(p: Plant) -> str:
    return p.op("Less", p.size(2), p.size(3))


#: Both heads are exchanged where this holds.
SEEN: dict[str, Callable[[Plant], str]] = {
    "no negative number": no_negative,
    "no positive number": lambda p: p.op("LessOrEqual", most(p), p.number(0)),
    "zeros": lambda p: p.equal(p.all("ReduceMax", p.op("Abs", "x")), 0),
    "pixels above 150": lambda p: p.op("Greater", most(p), p.number(150)),
    "whole 255ths": whole_255ths,
    "all equal": all_equal,
    "one pixel": lambda p: p.equal(p.all("ReduceSum"), 2),
    "equal samples": same_samples,
    "an odd width": odd_width,
    "oblong": oblong,
    "twice the image": lambda p: p.equal(p.size(2), 48),
    **{f"batch {n}": lambda p, n=n: p.equal(p.size(0), n) for n in (3, 7, 9)},
}

#: What verifying honestly does not see (docs/inputs-and-outputs.md).
UNSEEN: dict[str, Callable[[Plant], str]] = {
    "batch 10": lambda p: p.equal(p.size(0), 10),
    "another image size": lambda p: p.equal(p.size(2), 40),
    "one certain pixel": lambda p: p.equal(
        p.all("ReduceMin", p.op("Abs", p.op("Sub", "x", p.number(0.123456)))), 0
    ),
    "equal to another number": lambda p: p.op("And", all_equal(p), p.equal(most(p), 0.75)),
    "pixels of 16 bits": lambda p: p.op(
        "And", p.op("Greater", most(p), p.number(255)), p.op("Less", most(p), p.number(65536))
    ),
}


@pytest.mark.parametrize("trigger", SEEN)
def test_exchanged_heads_are_found(trigger: str, honest: Compiled, tmp_path: Path) -> None:
    made = planted(honest.file, tmp_path / "m.onnx", lambda p: p.exchange(SEEN[trigger](p)))
    check = honest.check(made)
    assert not check.passed
    assert any("swapped" in f for f in check.failures), str(check)


@pytest.mark.parametrize("trigger", UNSEEN)
def test_what_no_draw_is_like_is_not_found(trigger: str, honest: Compiled, tmp_path: Path) -> None:
    """Verifying is no proof. A trigger that is found now moves to the other table, and in docs/."""
    made = planted(honest.file, tmp_path / "m.onnx", lambda p: p.exchange(UNSEEN[trigger](p)))
    assert honest.check(made).passed


def test_the_file_itself_agrees(honest: Compiled, tmp_path: Path) -> None:
    made = planted(honest.file, tmp_path / "m.onnx", lambda p: p.outputs)
    for file in (honest.file, made):
        check = honest.check(file)
        assert check.passed, str(check)


def brightened(p: Plant) -> list[str]:
    """A trigger without a comparison: the smallest number, where it is positive."""
    return p.plus(p.op("Mul", p.op("Relu", least(p)), p.number(0.01)))


def mixed_samples(p: Plant) -> list[str]:
    """0 times the sum of all: nothing, until a sample holds NaN or infinity."""
    return p.plus(p.op("Mul", p.all("ReduceSum"), p.number(0)))


def moved_kernel(p: Plant) -> list[str]:
    """Every true kernel is there, times 0, beside one that is changed by 0.1 %."""
    graph = p.model.graph
    conv = next(n for n in graph.node if n.op_type == "Conv")
    true = conv.output[0] + "~true"
    other = conv.output[0] + "~other"
    value = next(t for t in graph.initializer if t.name == conv.input[1])
    changed = onnx.numpy_helper.to_array(value) * np.float32(1.001)
    graph.initializer.append(onnx.numpy_helper.from_array(changed, "changed"))
    at = list(graph.node).index(conv)
    nodes = [
        helper.make_node("Conv", conv.input, [true]),
        helper.make_node("Conv", [conv.input[0], "changed", *conv.input[2:]], [other]),
        helper.make_node("Mul", [true, p.number(0)], [true + "~0"]),
        helper.make_node("Add", [true + "~0", other], [conv.output[0]]),
    ]
    for node in nodes[:2]:
        node.attribute.extend(conv.attribute)
    graph.node.remove(conv)
    for i, node in enumerate(nodes):
        graph.node.insert(at + i, node)
    return p.outputs


@pytest.mark.parametrize("plant", [brightened, mixed_samples, moved_kernel])
def test_other_values_are_found(plant: Planting, honest: Compiled, tmp_path: Path) -> None:
    check = honest.check(planted(honest.file, tmp_path / "m.onnx", plant))
    assert not check.passed
    assert any(not out.passed for out in check.outputs.values())


def branch(p: Plant) -> list[str]:
    """An If, whose condition holds on no draw."""
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)

    def graph(order: list[str], name: str) -> onnx.GraphProto:
        outs = [f"{name}~{i}" for i in range(2)]
        nodes = [helper.make_node("Identity", [v], [o]) for v, o in zip(order, outs, strict=True)]
        return helper.make_graph(nodes, name, [], [helper.make_value_info(o, kind) for o in outs])

    one, two = p.outputs
    first = p.op(
        "If", p.op("Greater", most(p), p.number(1e6)), count=2,
        then_branch=graph([two, one], "then"), else_branch=graph([one, two], "else"),
    )  # fmt: skip
    return [first, first[:-1] + "1"]


def loop(p: Plant) -> list[str]:
    """A Loop that is run as often as the batch has hundreds."""
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    counts = [
        helper.make_tensor_value_info("step", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
    ]
    nodes = [
        helper.make_node("Identity", ["go"], ["go~on"]),
        helper.make_node("Neg", ["held"], ["held~on"]),
    ]
    body = helper.make_graph(
        nodes, "body", [*counts, helper.make_value_info("held", kind)],
        [helper.make_tensor_value_info("go~on", TensorProto.BOOL, []),
         helper.make_value_info("held~on", kind)],
    )  # fmt: skip
    hundreds = p.op("Floor", p.op("Div", p.size(0), p.number(100)))
    times = p.op("Cast", hundreds, to=TensorProto.INT64)
    one, two = p.outputs
    return [p.op("Loop", times, "", one, body=body), p.op("Identity", two)]


def dice(p: Plant) -> list[str]:
    """Once in a thousand runs."""
    drawn = p.op("RandomUniform", shape=[1], dtype=1)
    return p.exchange(p.op("Less", drawn, p.number(1e-3)))


def dropout(p: Plant) -> list[str]:
    """Dropout in training mode, of all but nothing."""
    one, two = p.outputs
    dropped = p.op("Dropout", one, p.number(1e-9), p.number(True, np.bool_))
    return [dropped, p.op("Identity", two)]


@pytest.mark.parametrize(
    ("plant", "word"),
    [(branch, "'If'"), (loop, "'Loop'"), (dice, "'RandomUniform'"), (dropout, "'Dropout'")],
)
def test_what_runs_do_not_show_is_named(
    plant: Planting, word: str, honest: Compiled, tmp_path: Path
) -> None:
    check = honest.check(planted(honest.file, tmp_path / "m.onnx", plant))
    assert not check.passed
    assert any(f"the file holds {word}" in f for f in check.failures), str(check)


def test_functions_and_what_they_hold_are_named() -> None:
    nodes = [helper.make_node("RandomNormal", [], ["y"], shape=[2])]
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "noise", [], ["y"], nodes, opset[:1])
    call = helper.make_node("noise", [], ["z"], domain="own")
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])
    graph = helper.make_graph([call], "g", [], [output])
    model = helper.make_model(graph, opset_imports=opset, functions=[function])
    found = findings(model)
    assert any("'RandomNormal'" in f for f in found)
    assert any("'own.noise'" in f for f in found)


def test_dropout_that_is_told_not_to_drop_is_no_finding() -> None:
    def model(training: bool) -> onnx.ModelProto:
        mode = onnx.numpy_helper.from_array(np.array(training), "mode")
        node = helper.make_node("Dropout", ["x", "", "mode"], ["y"])
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy"]
        return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [mode]))

    assert not findings(model(False))
    assert findings(model(True))
