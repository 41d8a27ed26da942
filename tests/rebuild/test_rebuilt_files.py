"""Files of igc's own are rebuilt the same, byte for byte, in whatever way they were made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from rebuild_nets import CASES, Case, images

import igc
from igc.certificate import manifest_path
from igc.certificate.manifest import seal
from igc.certificate.tools import installed
from igc.errors import BadInput
from igc.rebuild import Rebuilt, rebuild
from igc_cli.main import run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint, its model and its manifest."""
    folder = tmp_path_factory.mktemp("plain")
    CASES["plain"].delivered(folder)
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(plain, tmp_path / "copy"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def invoke(*arguments: object) -> tuple[int, str, str]:
        code = run(["audit", *map(str, arguments), "--rebuild"])
        return (code, *capsys.readouterr())

    return invoke


def rebuilt(folder: Path) -> Rebuilt:
    checkpoint = folder / "gated.pt"
    return rebuild(folder / "model.onnx", igc.load(checkpoint), checkpoint)


def change_model(folder: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


def change_manifest(folder: Path, change: Callable[[dict], object], *, sealed: bool = True) -> None:
    """Changes the manifest, and lets the model name it again."""
    model, manifest = folder / "model.onnx", folder / "model.manifest.json"
    content = json.loads(manifest.read_bytes())
    change(content)
    body = model.read_bytes()[: -len(seal(manifest.read_bytes()))]
    text = json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"
    manifest.write_text(text)
    if sealed:
        model.write_bytes(body + seal(text.encode()))


@pytest.mark.parametrize("name", CASES)
def test_what_igc_delivers_is_rebuilt_the_same(name: str, tmp_path: Path) -> None:
    case: Case = CASES[name]
    case.delivered(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    found = rebuilt(tmp_path)
    assert found.differences == []
    assert found.comparable
    assert not found.tools
    assert found.outputs == list(case.options.get("tasks", ["seg", "depth"]))
    told = {k: v for k, v in case.options.items() if k in ("split_groups", "stop_after")}
    assert found.options == told
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_options_make_another_file(tmp_path: Path) -> None:
    """So that a rebuild which did not take them would be noticed."""
    made = {}
    for name in ("plain", "one task", "a pass less", "not verified"):
        (tmp_path / name).mkdir()
        made[name] = CASES[name].delivered(tmp_path / name)[1].read_bytes()
    assert len(set(made.values())) == len(made)


def test_what_export_onnx_writes_is_rebuilt_the_same(plain: Path, tmp_path: Path) -> None:
    """Of a file, of a module, not simplified, and in another type."""
    shutil.copy(plain / "gated.pt", tmp_path)
    file, model = tmp_path / "gated.pt", tmp_path / "model.onnx"
    igc.export_onnx(igc.compile(file), model, simplify=False)
    assert rebuilt(tmp_path).differences == []
    torch.manual_seed(5)
    network = images()().eval()
    igc.export_onnx(igc.compile(network, torch.randn(2, 4, 8, 8)), model)
    assert rebuilt(tmp_path).differences == []
    manifest_path(model).unlink()
    igc.export_onnx(igc.compile(file).half(), model)
    found = rebuilt(tmp_path)
    assert (found.differences, found.manifest) == ([], False)
    assert found.options == {"converted": "float16"}


@pytest.mark.slow
def test_the_demo_is_rebuilt_the_same(tmp_path: Path, cli) -> None:
    import igc.demo

    shipped = Path(igc.demo.__file__).parent / "data" / "gated.pt"
    igc.deliver(shipped, tmp_path / "demo.onnx")
    code, out, _ = cli(tmp_path / "demo.onnx", "--against", shipped)
    assert code == 0
    assert "byte for byte; and so is its manifest" in out


@pytest.mark.slow
def test_weights_beside_code_are_rebuilt_the_same(plain: Path, tmp_path: Path, cli) -> None:
    factory = tmp_path / "nets.py"
    factory.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import rebuild_nets\nmake = rebuild_nets.images()\n"
    )
    weights, model = tmp_path / "weights.pt", tmp_path / "m.onnx"
    torch.save(igc.load(plain / "gated.pt").state_dict(), weights)
    how = ["--model", f"{factory}:make", "--input", "2x4x8x8"]
    assert run(["compile", str(weights), "--out", str(model), *how]) == 0
    assert cli(model, "--against", weights, *how)[0] == 0


def test_what_differs_first_is_named(folder: Path, cli) -> None:
    def change(model: onnx.ModelProto) -> None:
        kernel = next(n for n in model.graph.node if n.op_type == "Conv")
        next(a for a in kernel.attribute if a.name == "pads").ints[0] = 0

    change_model(folder, change)
    code, out, _ = cli(folder / "model.onnx", "--against", folder / "gated.pt")
    assert code == 1
    assert out.count("\n") == 1
    assert "'pads', ints: [0, 1, 1, 1] where [1, 1, 1, 1] was rebuilt" in out
    found = rebuilt(folder)
    assert len(found.differences) == 1
    assert cli(folder / "model.onnx", "--against", folder / "gated.pt", "--json")[0] == 1


def test_a_number_that_differs_is_named(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = next(t for t in model.graph.initializer if len(t.raw_data) > 40)
        weight.raw_data = weight.raw_data[:8] + b"\0\0\x80\x3f" + weight.raw_data[12:]

    change_model(folder, change)
    (line,) = rebuilt(folder).differences
    assert "numbers differ, first number 2: 1.0 where " in line
    assert line.startswith("initialiser '")


def test_the_same_message_in_other_bytes_is_told(folder: Path) -> None:
    """Fields in another order: every tool reads the same."""
    model = onnx.load(folder / "model.onnx")
    first = onnx.ModelProto(producer_name="igc")
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("producer_name")
    data = rest.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(data + first.SerializeToString(deterministic=True))
    (line,) = rebuilt(folder).differences
    assert "encoded in another way" in line


def test_another_checkpoint_is_found(folder: Path) -> None:
    network = igc.load(folder / "gated.pt")
    with torch.no_grad():
        network.state_dict()["heads.seg.bias"][0] += 1
    igc.save(network, folder / "gated.pt")
    found = rebuilt(folder).differences
    assert found[0].startswith("initialiser ")
    assert any("igc.source_sha256" in line for line in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(more=1), "manifest, 'more': one more"),
        (lambda c: c.pop("index"), "manifest, 'index': missing"),
        (lambda c: c["checkpoint"].update(sha256=None), "manifest, 'checkpoint', 'sha256'"),
        (lambda c: c["checkpoint"]["tensors"].popitem(), "missing"),
        (lambda c: c["model"]["wiring"].reverse(), "manifest, 'model', 'wiring', entry 0"),
        (lambda c: c.update(verification=None), "manifest, 'verification': None where"),
        (lambda c: c["tools"].pop("numpy"), "manifest, 'tools', 'numpy': missing"),
        (lambda c: c.update(version=True), "manifest, 'version': True where 1 was rebuilt"),
    ],
)
def test_a_manifest_that_differs_is_found(folder: Path, change, said: str) -> None:
    change_manifest(folder, change)
    found = rebuilt(folder)
    assert found.comparable
    assert any(said in line for line in found.differences), found.differences


def test_a_manifest_written_otherwise_is_found(folder: Path) -> None:
    manifest = folder / "model.manifest.json"
    text = manifest.read_bytes()
    manifest.write_bytes(b" " + text)
    assert rebuilt(folder).differences[-1] == "manifest: the same content, written in another way"
    manifest.write_bytes(b"{")
    assert rebuilt(folder).differences
    manifest.unlink()  # the model still names it
    found = rebuilt(folder)
    assert (found.differences, found.manifest) == ([], False)


def test_other_versions_of_the_tools_are_told(folder: Path, cli) -> None:
    """The same bytes: fine, and told. Other bytes: not comparable, and what to install."""
    change_manifest(folder, lambda c: c["tools"].update(torch="2.0.0", python="3.10.1"))
    code, out, _ = cli(folder / "model.onnx", "--against", folder / "gated.pt")
    assert code == 0
    assert f"torch 2.0.0 (here {installed()['torch']})" in out
    change_model(folder, lambda m: m.graph.node[0].ClearField("name"))
    code, out, err = cli(folder / "model.onnx", "--against", folder / "gated.pt")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "pip install 'torch==2.0.0' under Python 3.10.1" in err
    assert "the first difference: node" in err


def test_another_version_of_igc_is_told(folder: Path) -> None:
    def older(model: onnx.ModelProto) -> None:
        model.producer_version = "0.0.9"
        next(p for p in model.metadata_props if p.key == "igc.version").value = "0.0.9"

    change_manifest(folder, lambda c: c["tools"].update(igc="0.0.9"))
    change_model(folder, older)
    found = rebuilt(folder)
    assert not found.comparable
    assert found.tools["igc"][0] == "0.0.9"
    change_manifest(folder, lambda c: c["tools"].update(igc="0.0.8"), sealed=False)
    assert rebuilt(folder).comparable  # nothing can be told of what contradicts itself


def test_unusable_input_is_exit_code_2(folder: Path, cli) -> None:
    (folder / "model.onnx").write_bytes(b"no model")
    code, out, err = cli(folder / "model.onnx", "--against", folder / "gated.pt")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert cli(folder / "none.onnx", "--against", folder / "gated.pt")[0] == 2
    with pytest.raises(BadInput, match="not an ordinary file"):
        rebuild(folder, igc.load(folder / "gated.pt"), folder / "gated.pt")


def test_options_that_mean_nothing_are_a_difference(folder: Path) -> None:
    wrong = '{"stop_after":"none such"}', '{"converted":"int8"}', '{"split_groups":1}'
    for told in ("{", "[]", *wrong):
        change_model(folder, lambda m, t=told: setattr(_options(m), "value", t))
        assert any("igc.options" in line for line in rebuilt(folder).differences), told


def _options(model: onnx.ModelProto) -> onnx.StringStringEntryProto:
    return next(p for p in model.metadata_props if p.key == "igc.options")


@pytest.mark.slow
def test_other_files_of_the_run_are_taken_as_told(checkpoint: Path, tmp_path: Path) -> None:
    """They are not made anew; the audit compares them with what the manifest says."""
    igc.deliver(checkpoint, onnx=tmp_path / "m.onnx", torch=tmp_path / "s.pt")
    found = rebuild(tmp_path / "m.onnx", igc.load(checkpoint), checkpoint)
    assert found.differences == []
