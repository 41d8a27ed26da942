"""What an attacker can make long is refused at once, or takes time in proportion."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

import igc
from igc.checkpoint.data import from_data
from igc.compiler import compile_program
from igc.errors import BadCheckpoint
from igc_cli.main import run

Node = dict[str, Any]
N = 150
ROOM = 9  # four times the size: 4 where time is linear, 16 where it is a square


def ref(name: str) -> dict[str, str]:
    return {"node": name}


def call(name: str, op: str, *args: Any) -> Node:
    return {"name": name, "op": "call_function", "target": f"aten.{op}", "args": list(args)}


def chain(n: int) -> list[Node]:
    return [call(f"c{i}", "relu.default", ref(f"c{i - 1}" if i else "g")) for i in range(n)]


def residual(n: int) -> list[Node]:
    nodes, last = [], "g"
    for i in range(n // 2):
        nodes += [call(f"r{i}", "tanh.default", ref(last)),
                  call(f"a{i}", "add.Tensor", ref(last), ref(f"r{i}"))]  # fmt: skip
        last = f"a{i}"
    return nodes


def scaled(n: int) -> list[Node]:
    """Sums whose terms are all of one value."""
    nodes, last = [], "g"
    for i in range(n // 2):
        nodes += [call(f"r{i}", "mul.Scalar", ref(last), 0.5),
                  call(f"a{i}", "add.Tensor", ref(last), ref(f"r{i}"))]  # fmt: skip
        last = f"a{i}"
    return nodes


def joined(n: int) -> list[Node]:
    parts = [call(f"c{i}", "tanh.default", ref("g")) for i in range(n)]
    return [*parts, call("cat", "cat.default", [ref(p["name"]) for p in parts], 1)]


def joined_numbers(n: int) -> list[Node]:
    parts = [call(f"c{i}", "mul.Scalar", ref("g"), 1.0 + i) for i in range(n)]
    return [*parts, call("cat", "cat.default", [ref(p["name"]) for p in parts], 1)]


SHAPES = {f.__name__: f for f in (chain, residual, scaled, joined, joined_numbers)}


def data(nodes: list[Node], outputs: int = 1) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A gated linear layer, these nodes behind it, the last of them returned."""
    given = [
        {"name": "w", "op": "get_attr", "target": "w"},
        {"name": "alpha", "op": "get_attr", "target": "alpha"},
        {"name": "x", "op": "placeholder"},
        call("l", "linear.default", ref("x"), ref("w")),
        call("m", "gt.Scalar", ref("alpha"), 0.0),
        call("g", "mul.Tensor", ref("l"), ref("m")),
    ]
    returned = [ref(n["name"]) for n in nodes[-outputs:]]
    program = {
        "dtype": "float32", "sizes": {"batch": 2}, "outputs": [f"o{i}" for i in range(outputs)],
        "inputs": [{"name": "x", "dims": ["batch", 4], "dtype": "float32"}],
        "structure": {"tuple": [None] * outputs}, "gates": {"l": {"t": "alpha"}}, "mixes": {},
        "origins": {}, "note": {},
        "nodes": [*given, *nodes, {"name": "output", "op": "output", "args": returned}],
    }  # fmt: skip
    return program, {"w": torch.eye(4), "alpha": torch.tensor([1.0, -1.0, 1.0, -1.0])}


def seconds(act: Callable[[], Any]) -> float:
    """Of processor time, the better of two runs."""

    def once() -> float:
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numbers that overflow
            act()
        return time.process_time() - start

    return min(once(), once())


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_compiling_takes_time_in_proportion(shape: str) -> None:
    programs = [from_data(*data(SHAPES[shape](n))) for n in (N, N, 4 * N)]
    compile_program(programs[0])
    small, large = (seconds(lambda p=p: compile_program(p)) for p in programs[1:])
    assert large < ROOM * small + 0.5


def square(n: int) -> None:
    for _ in range(n * n * 10):
        pass


def test_a_square_would_be_noticed() -> None:
    small, large = seconds(lambda: square(N)), seconds(lambda: square(4 * N))
    assert large > ROOM * small + 0.0


def onnx_file(nodes: list[onnx.NodeProto], outputs: list[str], path: Path, stored: int = 0) -> Path:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["n", 4])],
        [info(o, TensorProto.FLOAT, None) for o in outputs],
        [helper.make_tensor(f"e{i}", TensorProto.FLOAT, [0], []) for i in range(stored)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def relu(read: str, made: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [read], [made])


def onnx_chain(n: int, path: Path) -> Path:
    nodes = [relu(f"v{i}" if i else "x", f"v{i + 1}") for i in range(n)]
    return onnx_file(nodes, [f"v{n}"], path)


def onnx_join(n: int, path: Path) -> Path:
    parts = [f"v{i}" for i in range(n)]
    join = helper.make_node("Concat", parts, ["y"], axis=1)
    return onnx_file([*(relu("x", p) for p in parts), join], ["y"], path)


def onnx_stored(n: int, path: Path) -> Path:
    return onnx_file([relu("x", "y")], ["y"], path, stored=n)


@pytest.mark.slow
@pytest.mark.parametrize("make", [onnx_chain, onnx_join, onnx_stored])
def test_an_onnx_report_takes_time_in_proportion(
    make: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    small, large = (make(n, tmp_path / f"{n}.onnx") for n in (1000, 4000))
    igc.report(small)
    assert seconds(lambda: igc.report(large)) < ROOM * seconds(lambda: igc.report(small)) + 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "n", "said"),
    [
        (onnx_chain, 100_000, "100000 nodes, more than the limit"),
        (onnx_stored, 300_000, "300000 stored tensors, more than the limit"),
    ],
)
def test_what_is_too_long_is_refused_at_once(
    make: Callable[[int, Path], Path],
    n: int,
    said: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make(n, tmp_path / "long.onnx")
    for arguments in (["report", path], ["verify", checkpoint, path]):
        start = time.process_time()
        assert run([str(a) for a in arguments]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
        assert time.process_time() - start < 5


def test_so_are_many_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"v{i}" for i in range(300)]
    path = onnx_file([relu("x", name) for name in names], names, tmp_path / "many.onnx")
    assert run(["report", str(path)]) == 2
    assert "300 outputs, more than the limit of 256" in capsys.readouterr().err
    with pytest.raises(BadCheckpoint, match="more than the limit of 256"):
        from_data(*data(chain(300), outputs=300))


def test_a_checkpoint_of_too_many_nodes_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, tensors = data(chain(100_000))
    text = json.dumps({"program": program, "state": dict.fromkeys(tensors, "buffer")})
    torch.save({"format": "igc", "version": 1, "kind": "gated", "program": text,
                "tensors": tensors}, tmp_path / "long.pt")  # fmt: skip
    start = time.process_time()
    assert run(["report", str(tmp_path / "long.pt")]) == 2
    assert "more than the limit of 20000" in capsys.readouterr().err
    assert time.process_time() - start < 5
