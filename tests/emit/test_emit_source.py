"""The standalone source: runs where igc cannot be imported, bit for bit, and is written whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from emit_nets import Function, branches, image, tokens
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import igc.emit.torch.source as source
from igc.capture import capture
from igc.delivery import export_source
from igc.emit import emit
from igc.errors import BadInput
from igc.program import Program

RUNNER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("igc", "igc_cli", "onnx", "onnxruntime", "onnxscript"):
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from net import load
from torch.utils._pytree import tree_leaves
net, x = load(), torch.load(sys.argv[2], weights_only=True)
with torch.no_grad():
    torch.save(tree_leaves(net(x)), sys.argv[3])
assert not any(m.split(".")[0] == "igc" for m in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("make", [branches, tokens])
def test_runs_without_igc_bit_for_bit(
    make: Callable[[], tuple[nn.Module, Program, Tensor]], tmp_path: Path
) -> None:
    _, program, x = make()
    static = emit(program)
    export_source(static, tmp_path / "net")
    torch.save(x, tmp_path / "x.pt")
    (tmp_path / "run.py").write_text(RUNNER, encoding="utf-8")
    arguments = [tmp_path / "net", tmp_path / "x.pt", tmp_path / "y.pt"]
    command = [sys.executable, "-I", "-W", "ignore", str(tmp_path / "run.py")]
    subprocess.run([*command, *map(str, arguments)], check=True, cwd=tmp_path)
    results = torch.load(tmp_path / "y.pt", weights_only=True)
    with torch.no_grad():
        expected = pytree.tree_leaves(static(x))
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_runs_as_a_script(tmp_path: Path) -> None:
    static = emit(branches()[1], dtype=torch.float64)
    static.export(tmp_path)
    command = [sys.executable, "-I", str(tmp_path / "net.py")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "seg (2, 5, 32, 32) torch.float64",
        "label (2, 4) torch.float64",
    ]


def test_the_weights_are_read_strictly(tmp_path: Path) -> None:
    export_source(emit(branches()[1]), tmp_path)
    scope: dict[str, object] = {"__name__": "net", "__file__": str(tmp_path / "net.py")}
    exec((tmp_path / "net.py").read_text(encoding="utf-8"), scope)
    save_file({"other": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(RuntimeError, match="Missing key"):
        scope["load"]()  # type: ignore[operator]


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    static = emit(branches()[1])
    for name in ("a", "b"):
        export_source(static, tmp_path / name)
    for file in ("net.py", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_failed_write_leaves_both_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_source(emit(branches()[1]), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(source, "save_file", fail)
    other = emit(capture(Function(torch.relu), (image(),)))
    with pytest.raises(OSError, match="disk full"):
        export_source(other, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    with pytest.raises(OSError, match="disk full"):
        export_source(other, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_unwritable_places_are_bad_input(tmp_path: Path) -> None:
    static = emit(branches()[1])
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for place in (tmp_path / "file", tmp_path / "no" / "such"):
        with pytest.raises(BadInput):
            export_source(static, place)


def test_a_folder_named_like_an_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="export_onnx"):
        emit(branches()[1]).export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
