"""The ONNX file: valid, equal output by output, small, reproducible, written whole or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from emit_nets import Branches, Function, branches, image, tokens
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import igc.emit.onnx.model as onnx_model
import igc.emit.onnx.write as writer
from igc.capture import capture
from igc.delivery import export_onnx
from igc.emit import StaticNetwork, emit
from igc.emit.onnx.lower import OnnxGraph, OnnxNode, lower
from igc.errors import BadInput, CheckFailed
from igc.program import Program
from igc.version import __version__

LEVELS = (
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
)


def run_file(path: Path, x: Tensor, level: Any = LEVELS[1]) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(str(path), options)
    (name,) = (i.name for i in session.get_inputs())
    return [torch.from_numpy(v) for v in session.run(None, {name: x.numpy()})]


@pytest.mark.parametrize("large", [1 << 14, 64])
@pytest.mark.parametrize("simplify", [True, False])
@pytest.mark.parametrize("make", [branches, tokens])
def test_computes_what_the_static_network_does(
    make: Callable[[], tuple[nn.Module, Program, Tensor]],
    simplify: bool,
    large: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_model, "LARGE", large)  # from where weights are held aside
    _, program, _ = make()
    static, path = emit(program), tmp_path / "net.onnx"
    info = export_onnx(static, path, simplify=simplify)
    onnx.checker.check_model(str(path), full_check=True)
    assert info.route == "direct"
    assert info.size == path.stat().st_size
    sizes = [(2, 16), (5, 16)] + ([(3, 24)] if make is branches else [])
    for batch, size in sizes:
        x = image(batch, size)
        with torch.no_grad():
            expected = pytree.tree_leaves(static(x))
        for level in LEVELS:
            for a, b in zip(run_file(path, x, level), expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_names_dims_and_provenance(tmp_path: Path) -> None:
    _, program, _ = branches()
    gates = {"shared": {"seg": "a", "label": "b"}}
    noted = replace(program, gates=gates, note={"source_sha256": "ab12"})
    path = tmp_path / "net.onnx"
    export_onnx(emit(noted), path, verification={"passed": True, "seg": 1e-7})
    model = onnx.load(path)
    (x,) = model.graph.input
    dims = [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]
    assert [o.name for o in model.graph.output] == ["seg", "label"]
    label = model.graph.output[1].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in label] == ["batch", 4]
    assert model.opset_import[0].version == 20
    meta = {p.key: p.value for p in model.metadata_props}
    assert list(meta) == sorted(meta)
    assert meta["igc.version"] == __version__
    assert meta["igc.source_sha256"] == "ab12"
    assert json.loads(meta["igc.tasks"]) == ["seg", "label"]
    assert json.loads(meta["igc.inputs"]) == {"x": ["batch", 3, "height", "width"]}
    assert json.loads(meta["igc.verification"]) == {"passed": True, "seg": 1e-7}


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net, x = Branches().eval(), image()
    digests = set()
    for i in range(2):
        path = tmp_path / f"{i}.onnx"
        export_onnx(emit(capture(net, (x,))), path)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_initialisers_are_no_larger_than_the_network(tmp_path: Path) -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            y = self.linear(self.linear(x).relu())
            return y.mean(1) + nn.functional.linear(x[:, 0], self.linear.weight)

    static = emit(capture(Repeated(), (torch.randn(2, 5, 32),)))
    info = export_onnx(static, tmp_path / "net.onnx")
    held = sum(v.numel() * v.element_size() for v in static.state_dict().values())
    assert info.initialiser_size <= held + 128
    static = emit(branches()[1])
    info = export_onnx(static, tmp_path / "net.onnx")
    held = sum(v.numel() * v.element_size() for v in static.state_dict().values())
    assert info.initialiser_size <= held + 128


def test_half_precision_passes_through(tmp_path: Path) -> None:
    static = emit(branches()[1]).half()
    export_onnx(static, tmp_path / "net.onnx")
    x = image().half()
    with torch.no_grad():
        expected = static(x)["label"]
    got = run_file(tmp_path / "net.onnx", x)[1]
    assert got.dtype == torch.float16
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2)


def test_an_output_may_be_an_input_or_have_its_name(tmp_path: Path) -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = x.relu()
            return {"x": y, "copy": x, "again": y}

    export_onnx(emit(capture(Same(), (image(),))), tmp_path / "net.onnx")
    x = image()
    assert all(
        torch.equal(a, b)
        for a, b in zip(run_file(tmp_path / "net.onnx", x), (x.relu(), x, x.relu()), strict=True)
    )
    assert [o.name for o in onnx.load(tmp_path / "net.onnx").graph.output] == ["x", "copy", "again"]


def _swapped(graph: OnnxGraph) -> None:
    """Swaps the values of the two outputs, keeping the names in their order."""
    swap = {"a": "b", "b": "a"}
    graph.nodes[:] = [
        OnnxNode(n.kind, n.inputs, tuple(swap.get(o, o) for o in n.outputs), n.attributes)
        for n in graph.nodes
    ]


def _scaled(graph: OnnxGraph) -> None:
    for value in graph.initialisers.values():
        value.mul_(1.01)


def _unbiased(graph: OnnxGraph) -> None:
    graph.nodes[:] = [
        OnnxNode(n.kind, n.inputs[:2], n.outputs, n.attributes) if n.kind == "Conv" else n
        for n in graph.nodes
    ]


def _invalid(graph: OnnxGraph) -> None:
    graph.nodes.append(OnnxNode("NoSuchOp", ("x",), ("y",), ()))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"a": self.one(x), "b": self.two(x)}


@pytest.mark.parametrize("spoil", [_swapped, _scaled, _unbiased, _invalid])
def test_a_wrong_file_is_never_written(
    spoil: Callable[[OnnxGraph], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    static = emit(capture(Pair().eval(), (image(),)))
    path = tmp_path / "net.onnx"
    path.write_bytes(b"older")

    def wrong(program: Program, names: tuple[str, ...]) -> Any:
        graph, outputs = lower(program, names)
        graph.initialisers = {k: v.clone() for k, v in graph.initialisers.items()}
        spoil(graph)
        return graph, outputs

    monkeypatch.setattr(onnx_model, "lower", wrong)
    with pytest.raises(CheckFailed):
        export_onnx(static, path)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("spoil", ["break", "raise", "grow"])
def test_a_bad_simplification_is_dropped(
    spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxsim

    def bad(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
        if spoil == "raise":
            raise RuntimeError("no")
        made = onnx.ModelProto()
        made.CopyFrom(model)
        if spoil == "break":
            del made.graph.node[0].input[2:]
        else:
            made.graph.node.add(op_type="Relu", input=["a"], output=["unused"])
        return made, True

    monkeypatch.setattr(onnxsim, "simplify", bad)
    static = emit(capture(Pair().eval(), (image(),)))
    info = export_onnx(static, tmp_path / "net.onnx")
    assert not info.simplified
    assert info.nodes == 2


@pytest.mark.slow
def test_what_has_no_direct_form_goes_through_torch(tmp_path: Path, capfd: Any) -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"b": torch.fft.rfft(self.conv(x)).abs(), "a": self.conv(x)}

    static = emit(capture(Spectral().eval(), (image(),)))
    info = export_onnx(static, tmp_path / "net.onnx")
    assert info.route == "torch.onnx.export"
    assert "aten.fft_rfft" in info.reason
    assert capfd.readouterr() == ("", "")
    text = (tmp_path / "net.onnx").read_bytes()
    assert b".py" not in text
    assert b"pkg.torch" not in text
    x = image(5)
    with torch.no_grad():
        expected = static(x)
    for got, want in zip(run_file(tmp_path / "net.onnx", x), expected.values(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_large_weights_leave_a_model_and_return(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(emit(branches()[1]), path, simplify=False)
    whole = onnx.load(path)
    model = onnx_model.parted(whole)
    assert not model.weights
    whole.graph.initializer[0].raw_data = bytes(1 << 16)
    whole.graph.initializer[0].dims[:] = [1 << 14]
    model = onnx_model.parted(whole)
    assert list(model.weights) == [whole.graph.initializer[0].name]
    assert len(whole.graph.initializer) == len(model.proto.graph.initializer) + 1
    assert model.write(path) == path.stat().st_size
    again = onnx.load(path)
    moved = again.graph.initializer.pop()
    moved.doc_string = ""  # set, though empty, in what was read
    again.graph.initializer.insert(0, moved)
    assert again == whole


@pytest.mark.slow
def test_what_has_no_form_at_all_is_bad_input(tmp_path: Path) -> None:
    static = emit(capture(Function(lambda x: torch.special.i0e(x)), (image(),)))
    with pytest.raises(BadInput, match=r"cannot be written as ONNX: .*special_i0e"):
        export_onnx(static, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_the_callers_verification_decides(tmp_path: Path) -> None:
    static: StaticNetwork = emit(branches()[1])
    seen: list[bytes] = []

    def passes(path: Path) -> dict[str, Any]:
        seen.append(path.read_bytes())
        onnx.checker.check_model(str(path))
        return {"passed": True}

    def fails(_: Path) -> dict[str, Any]:
        raise CheckFailed("differs")

    path = tmp_path / "net.onnx"
    export_onnx(static, path, verification=passes)
    written = path.read_bytes()
    assert len(seen) == 1
    assert b'{"passed":true}' in written
    with pytest.raises(CheckFailed, match="differs"):
        export_onnx(static, path, verification=fails)
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


def test_bad_places_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    static = emit(branches()[1])
    with pytest.raises(BadInput, match="no folder"):
        export_onnx(static, tmp_path / "no" / "net.onnx")
    monkeypatch.setattr(writer, "LIMIT", 100)
    with pytest.raises(BadInput, match="less than 2 GiB"):
        export_onnx(static, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
