"""The cost of every model, plain and gated, against the nodes of the ONNX file that it becomes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from model_zoo import SIZE, ZOO, build, encoder, heads, hrnet, pictures, vit
from program_texts import assert_told
from slowness import slow_but
from torch import nn
from torch.testing import assert_close
from torch.utils import _pytree as pytree

import igc
from benchmarks.counting import count
from igc.analysis.cost import Cost, cost
from igc.capture import capture
from igc.compiler import compilation, compile_program
from igc.emit.onnx.by_torch import export_by_torch
from igc.emit.onnx.lower import Unsupported
from igc.emit.onnx.model import OPSET, direct
from igc.emit.torch.static import emit
from igc.models.dpt import DPTHead
from igc.models.heads import HRNetHead, LinearHead
from igc.models.mobilenet import mobilenet_v2
from igc.models.vit import ViT, gated_layers
from igc.onnx_files.cost import onnx_cost
from igc.program import Program
from igc.program.execute import execute

INPUT = {"x": (1, 3, *SIZE)}


PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def counted_by_hand(path: Path) -> int:
    """MACs of the nodes that multiply and add, from the shapes that running the file has.

    Shares no code with igc.
    """
    model = onnx.load(str(path))
    graph = model.graph
    shape = {i.name: list(i.dims) for i in graph.initializer}
    products = [n for n in graph.node if n.op_type in PRODUCTS]
    wanted = sorted({v for n in products for v in (*n.input, *n.output) if v} - {*shape, "x"})
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.enable_mem_reuse = False  # takes long on thousands of nodes
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    values = session.run(None, {"x": np.zeros(INPUT["x"], np.float32)})
    found = {name: list(value.shape) for name, value in zip(wanted, values, strict=True)}
    shape |= found | {"x": list(INPUT["x"])}
    total = 0
    for node in products:
        given, made = [shape.get(n, []) for n in node.input], shape[node.output[0]]
        flipped = any(a.name == "transA" and a.i for a in node.attribute)
        if node.op_type == "Conv":
            total += prod(made) * prod(given[1][1:])
        elif node.op_type == "ConvTranspose":
            total += prod(given[0]) * prod(given[1][1:])
        elif node.op_type == "MatMul":
            total += prod(made) * given[0][-1]
        elif node.op_type == "Gemm":
            total += prod(made) * given[0][0 if flipped else 1]
    return total


def written(program: Program, path: Path) -> Path:
    """The program as ONNX: by igc's own writer, else by torch's; nothing is run."""
    names, static = ("x",), emit(program)
    try:
        direct(static.to_program(), names).write(path)
    except Unsupported as reason:
        onnx.save(export_by_torch(static, program, names, str(reason), OPSET), str(path))
    return path


def check(program: Program, path: Path) -> Cost:
    """Program and file cost the same, also by hand; every way of splitting the cost is whole."""
    found = cost(program)
    file = onnx_cost(str(written(program, path)), {"x": INPUT["x"]})
    assert found.macs == file.macs == counted_by_hand(path) > 0
    assert found.uncounted == file.uncounted == ()
    for each in (found, file):
        for parts in (each.by_tasks(), each.by_layer()):
            assert sum(p.macs for p in parts.values()) == each.macs
            assert sum(p.params for p in parts.values()) == each.params
        assert each.peak_bytes is not None
        assert each.peak_bytes >= 4 * prod(INPUT["x"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but({"vit"}, sorted(ZOO)))
def test_a_model_costs_what_its_onnx_file_does(name: str, tmp_path: Path) -> None:
    """It is compiled once: captured it also computes the same at another batch, captured and
    compiled it goes through its text and back."""
    network = build(name)
    made = compilation(network, pictures())
    assert check(made.gated, tmp_path / "net.onnx").macs == count(network, pictures()).macs
    assert isinstance(made.gated.inputs[0].dims[0], str)
    with torch.no_grad():
        x = pictures(3).double()
        wanted, _ = pytree.tree_flatten(network.double()(x))
        found = execute(made.gated, (x,), dtype=torch.float64)
    assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for program in (made.gated, made.program):
        assert_told(program)


def tokens() -> dict[str, nn.Module]:
    class Token(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x[:, 0])

    return {"a": Token(24, 3), "b": Token(24, 2)}


def gated_dpt() -> igc.nn.GatedNetwork:
    """Two blocks, each read twice: four would take four times as long, and cost no other ops."""
    trunk = ViT(24, 2, 3, image=SIZE, scales=(0, 0, 1, 1), split_qkv=True)
    own = {
        t: DPTHead(24, n, trunk.grid, widths=(8, 16, 24, 32), width=16)
        for t, n in (("seg", 5), ("depth", 1))
    }
    return igc.gate(trunk, heads=own, at=gated_layers(trunk))


def gated_hrnet() -> igc.nn.GatedNetwork:
    """One task: it has more than a hundred convolutions, and as many in every branch."""
    own = {"seg": HRNetHead((6, 12, 24, 48), 5, upsample=4)}
    return igc.gate(hrnet(), heads=own, at="block")


def gated_mobilenet() -> igc.nn.GatedNetwork:
    """Its first blocks: every sort of convolution that the others have."""
    trunk = mobilenet_v2(width=0.35, output_stride=8).features[:9]
    width = trunk(pictures()).shape[1]
    return igc.gate(trunk, {"a": LinearHead(width, 3), "b": LinearHead(width, 2)}, at="layer")


GATED: dict[str, Callable[[], igc.nn.GatedNetwork]] = {
    "vit": lambda: igc.gate(vit(), heads=tokens(), at="layer"),
    "resnet18": lambda: igc.gate(encoder(), heads=heads(), at="block"),
    "mobilenet": gated_mobilenet,
    "dpt": gated_dpt,
    "hrnet": gated_hrnet,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GATED)
def test_a_gated_network_costs_what_its_onnx_files_do(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = GATED[name]().eval()
    with torch.no_grad():
        # Branches start as copies of one another, and the writer computes equal things once.
        for name, p in net.named_parameters():
            p.normal_(mean=-0.5) if "alpha" in name else p.add_(torch.randn_like(p) / 10)
    program = capture(net, pictures())
    whole = check(program, tmp_path / "gated.onnx")
    counted = count(net, pictures())
    assert (whole.macs, whole.params) == (counted.macs, counted.params)
    static = check(compile_program(program)[0], tmp_path / "static.onnx")
    assert static.macs < whole.macs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dynamic"),
    [("resnet18", False), ("resnet18", True), ("vit", False), ("vit", True), ("mtan-os32", True)],
)
def test_files_of_torch_s_exporter_cost_the_same(name: str, dynamic: bool, tmp_path: Path) -> None:
    """As a user writes them, with the exporter's own names, batch fixed or dynamic."""
    network, path = build(name), tmp_path / "net.onnx"
    options: Any = {"dynamo": True, "verbose": False, "external_data": False}
    if dynamic:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(network, (pictures(2 if dynamic else 1),), str(path), **options)
    made = igc.report(path)
    assert made.cost.macs == count(network, pictures()).macs
    assert made.cost.uncounted == ()
    assert made.cost.peak_bytes is not None
    assert made.cost.input_shapes == ((1, 3, *SIZE),)
