"""Counting any ONNX file: the same figures as for the torch network it was written from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from igc.errors import BadInput
from igc.onnx_files.cost import onnx_cost
from igc.ops.macs import op_macs
from igc.reports import report

aten = torch.ops.aten


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    weights: dict[str, Any],
    outputs: tuple[str, ...] = ("y",),
    meta: dict[str, str] | None = None,
) -> str:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()],
    )
    opset = [helper.make_opsetid("", 23), helper.make_opsetid("my.ops", 1)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=11)
    for key, value in (meta or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))
    return str(path)


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


NODE = helper.make_node
CASES: dict[str, tuple[onnx.NodeProto, dict[str, list[int | str]], dict[str, Any], int]] = {
    "conv": (
        NODE("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1] * 4),
        {"x": ["n", 6, 9, 9]},
        {"w": zeros(8, 6, 3, 3)},
        8 * 6 * 9 * 5 * 5,
    ),
    "depthwise": (
        NODE("Conv", ["x", "w"], ["y"], group=6),
        {"x": ["n", 6, 9, 9]},
        {"w": zeros(6, 1, 3, 3)},
        6 * 9 * 7 * 7,
    ),
    "conv1d": (NODE("Conv", ["x", "w"], ["y"]), {"x": ["n", 2, 9]}, {"w": zeros(4, 2, 3)}, 168),
    "transposed": (
        NODE("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
        {"x": ["n", 6, 5, 5]},
        {"w": zeros(6, 4, 2, 2)},
        6 * 4 * 4 * 25,
    ),
    "gemm": (NODE("Gemm", ["x", "w"], ["y"], transB=1), {"x": ["n", 7]}, {"w": zeros(3, 7)}, 21),
    "matmul": (NODE("MatMul", ["x", "w"], ["y"]), {"x": ["n", 5, 7]}, {"w": zeros(7, 3)}, 105),
    "products": (NODE("MatMul", ["x", "z"], ["y"]), {"x": ["n", 2, 5, 7], "z": ["n", 2, 7, 4]},
                 {}, 2 * 5 * 7 * 4),
    "attention": (
        NODE("Attention", ["q", "k", "v"], ["y"]),
        {"q": ["n", 2, 5, 8], "k": ["n", 2, 6, 8], "v": ["n", 2, 6, 4]},
        {},
        2 * 5 * 6 * (8 + 4),
    ),
    "attention3d": (
        NODE("Attention", ["q", "k", "v"], ["y"], q_num_heads=2, kv_num_heads=2),
        {"q": ["n", 5, 16], "k": ["n", 6, 16], "v": ["n", 6, 8]},
        {},
        2 * 5 * 6 * (8 + 4),
    ),
    "einsum": (
        NODE("Einsum", ["x", "w"], ["y"], equation="bij,jk->bik"),
        {"x": ["n", 5, 7]},
        {"w": zeros(7, 3)},
        105,
    ),
    "relu": (NODE("Relu", ["x"], ["y"]), {"x": ["n", 5]}, {}, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_ops_by_hand(tmp_path: Path, case: str) -> None:
    node, inputs, weights, macs = CASES[case]
    found = onnx_cost(write(tmp_path / "m.onnx", [node], inputs, weights))
    assert found.macs == macs
    assert found.params == sum(w.size for w in weights.values())
    assert found.uncounted == ()
    assert all(shape[0] == 1 for shape in found.input_shapes)


def test_the_conventions_are_those_of_the_aten_counter() -> None:
    x, w = torch.zeros(1, 6, 9, 9), torch.zeros(8, 6, 3, 3)
    macs = op_macs(aten.conv2d.default, [x, w], F.conv2d(x, w, stride=2, padding=1))
    assert macs == CASES["conv"][3]
    q, k, v = torch.zeros(1, 2, 5, 8), torch.zeros(1, 2, 6, 8), torch.zeros(1, 2, 6, 4)
    target = aten.scaled_dot_product_attention.default
    assert op_macs(target, [q, k, v], q[..., :4]) == CASES["attention"][3]


def test_tasks_are_told_apart_behind_a_join(tmp_path: Path) -> None:
    nodes = [
        NODE("Conv", ["x", "a.weight"], ["fa"]),
        NODE("Conv", ["x", "b.weight"], ["fb"]),
        NODE("Concat", ["fa", "fb"], ["join"], axis=1),
        NODE("Relu", ["join"], ["active"]),
        NODE("Gather", ["active", "first"], ["seg"], axis=1),
        NODE("Gather", ["active", "second"], ["depth"], axis=1),
    ]
    weights = {
        "a.weight": zeros(2, 3, 1, 1),
        "b.weight": zeros(3, 3, 1, 1),
        "first": np.array([0, 1]),
        "second": np.array([1, 2, 4]),
    }
    path = write(tmp_path / "m.onnx", nodes, {"x": ["n", 3, 4, 4]}, weights, ("seg", "depth"))
    values = report(path).to_dict()
    sets = {tuple(r["tasks"]): r["onnx"]["macs"] for r in values["sharing"] if r["onnx"]["macs"]}
    assert sets == {("seg", "depth"): 2 * 3 * 16, ("depth",): 3 * 3 * 16}
    layers = {r["layer"]: r["onnx"]["macs"] for r in values["layers"]}
    assert layers == {"a": 96, "b": 144}
    assert values["total"]["buffers"] == 5
    assert values["total"]["files"] == {"m.onnx": Path(path).stat().st_size}
    assert values["total"]["peak_bytes"] == (5 + 5) * 16 * 4


def test_a_node_without_weights_belongs_to_the_layer_before_it(tmp_path: Path) -> None:
    nodes = [
        NODE("Relu", ["x"], ["r"], name="first"),
        NODE("Conv", ["r", "a.b.weight"], ["f"]),
        NODE("Mul", ["f", "coefficient"], ["m"], name="Mul_3"),
        NODE("MatMul", ["m", "m"], ["y"], name="MatMul_4"),
    ]
    weights = {"a.b.weight": zeros(2, 3, 1, 1), "coefficient": zeros(1, 2, 1, 1)}
    path = write(tmp_path / "m.onnx", nodes, {"x": ["n", 3, 4, 4]}, weights)
    (row,) = report(path).to_dict()["layers"]
    assert (row["layer"], row["onnx"]["macs"], row["onnx"]["params"]) == ("a.b", 96 + 128, 6 + 2)
    assert {n.layer for n in onnx_cost(path).nodes} == {"first", "a.b"}


def test_sizes_that_the_graph_computes_are_followed(tmp_path: Path) -> None:
    """A shape put together from others, which ONNX's own inference gives up on."""
    nodes = [
        NODE("Shape", ["x"], ["batch"], start=0, end=1),
        NODE("Shape", ["x"], ["all"]),
        NODE("Slice", ["all", "two", "four"], ["size"]),
        NODE("Mul", ["size", "two"], ["double"]),
        NODE("Div", ["double", "two"], ["half"]),
        NODE("Concat", ["batch", "three", "half"], ["shape"], axis=0),
        NODE("GlobalAveragePool", ["x"], ["mean"]),
        NODE("Expand", ["mean", "shape"], ["wide"]),
        NODE("Conv", ["wide", "w"], ["y"]),
    ]
    weights = {
        "two": np.array([2]), "four": np.array([4]), "three": np.array([3]),
        "w": zeros(5, 3, 1, 1),
    }  # fmt: skip
    path = write(tmp_path / "m.onnx", nodes, {"x": ["n", 3, 4, 6]}, weights)
    found = onnx_cost(path)
    assert (found.macs, found.uncounted) == (15 * 24, ())
    assert len(found.nodes) == len(nodes)
    # The wide tensor and the result: both 24 pixels; the picture and its sizes are gone by then.
    assert found.peak_bytes == (3 + 5) * 24 * 4


def test_unknown_ops_are_named_not_counted_as_free(tmp_path: Path) -> None:
    nodes = [NODE("Magic", ["x"], ["y"], domain="my.ops", name="magic")]
    made = report(write(tmp_path / "m.onnx", nodes, {"x": ["n", 3]}, {}))
    assert made.cost.uncounted == ("Magic in magic",)
    from igc.reports import over_budget

    assert over_budget(made, max_macs=1e9)


def test_dynamic_image_sizes_have_to_be_known(tmp_path: Path) -> None:
    node = NODE("Conv", ["x", "w"], ["y"])
    inputs: dict[str, list[int | str]] = {"x": ["n", 3, "h", "w_"]}
    weights = {"w": zeros(4, 3, 1, 1)}
    path = write(tmp_path / "m.onnx", [node], inputs, weights)
    with pytest.raises(BadInput, match="'x' is dynamic"):
        onnx_cost(path)
    assert onnx_cost(path, {"x": (1, 3, 5, 7)}).macs == 12 * 35
    noted = write(
        tmp_path / "n.onnx", [node], inputs, weights, meta={"igc.input_shapes": '{"x":[2,3,5,7]}'}
    )
    assert onnx_cost(noted).macs == 12 * 35


@pytest.mark.parametrize("content", [b"", b"\x08", b"no onnx at all"])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"m\.onnx"):
        report(path)


def test_an_onnx_file_goes_first(tmp_path: Path) -> None:
    node, inputs, weights, _ = CASES["relu"]
    path = write(tmp_path / "m.onnx", [node], inputs, weights)
    with pytest.raises(BadInput, match="gated network first"):
        report(path, path)
    with pytest.raises(BadInput, match="no such file"):
        report(tmp_path / "none.onnx")
