"""`igc compile` writes the certificate, `igc audit` checks it: exit codes and what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest
import torch
from audit_nets import Certificate, gated_net
from torch import nn

import igc
from igc.audit import Audit, audit
from igc.certificate import manifest_path
from igc.certificate.manifest import hashes
from igc.errors import BadInput
from igc_cli.main import run


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def invoke(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return invoke


@pytest.fixture(scope="module")
def compiled(original, tmp_path_factory) -> Certificate:
    """What the command line writes."""
    made = Certificate(tmp_path_factory.mktemp("compiled"))
    shutil.copy(original.checkpoint, made.checkpoint)
    assert run(["compile", str(made.checkpoint), "--out", str(made.onnx)]) == 0
    return made


def test_audit_holds(compiled, cli) -> None:
    code, out, _ = cli("audit", compiled.onnx, "--against", compiled.checkpoint)
    assert code == 0
    assert "bit for bit" in out
    assert "no output reads them" in out


def test_the_manifest_says_what_was_verified(compiled, original) -> None:
    manifest = json.loads(compiled.manifest.read_text())
    (way,) = (w for w in manifest["verification"]["static"] if "float64" in w)
    assert manifest["verification"]["static"][way] == ["a", "b"]
    assert all(names == ["a", "b"] for names in manifest["verification"]["onnx"].values())
    assert manifest["tools"]["igc"]
    assert compiled.manifest.stat().st_size < 60_000
    # The library writes the same tensors; only what was compared differs.
    other = json.loads(original.manifest.read_text())
    assert {k: manifest[k] for k in ("index", "tensors")} == {
        k: other[k] for k in ("index", "tensors")
    }


def test_a_failed_audit_is_exit_code_1_and_names_what(compiled, cli, tmp_path) -> None:
    for file in compiled.folder.iterdir():
        shutil.copy(file, tmp_path / file.name)
    changed = Certificate(tmp_path)
    changed.change_manifest(lambda c: c["checkpoint"]["tensors"].popitem())
    code, out, _ = cli("audit", changed.onnx, "--against", changed.checkpoint)
    assert code == 1
    assert "does not hold" in out
    assert "not the one that was compiled" in out
    code, out, _ = cli("audit", changed.onnx, "--against", changed.checkpoint, "--json")
    assert code == 1
    values = json.loads(out)
    assert values["passed"] is False
    assert any("not the one that was compiled" in line for line in values["failures"])


def test_unusable_input_is_exit_code_2(compiled, cli, tmp_path) -> None:
    model = tmp_path / "model.onnx"
    shutil.copy(compiled.onnx, model)
    code, out, err = cli("audit", model, "--against", compiled.checkpoint)
    assert code == 2
    assert not out
    assert "model.manifest.json: no such file" in err
    assert err.count("\n") == 1
    model.write_bytes(b"no model")
    shutil.copy(compiled.manifest, model.with_suffix(".manifest.json"))
    assert cli("audit", model, "--against", compiled.checkpoint)[0] == 2
    assert cli("audit", compiled.onnx, "--against", tmp_path / "none.pt")[0] == 2


def test_hashes_cover_every_tensor(compiled) -> None:
    network = igc.load(compiled.checkpoint)
    assert set(hashes(compiled.checkpoint, network)) == {"", *network.state_dict()}


def audited(against: object, model: object) -> Audit:
    network = igc.load(against)
    return audit(model, network.to_program(), hashes(against, network))


def test_export_onnx_writes_the_manifest_too(original, tmp_path) -> None:
    model = tmp_path / "m.onnx"
    found = igc.export_onnx(igc.compile(original.checkpoint), model)
    assert (found.path, found.size) == (str(model), model.stat().st_size)
    manifest = json.loads(manifest_path(model).read_text())
    assert manifest["checkpoint"]["sha256"] == hashes(original.checkpoint, nn.Identity())[""]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.manifest.json", "m.onnx"]
    assert audited(original.checkpoint, model).passed


@pytest.mark.slow
def test_a_module_is_certified_by_its_tensors(tmp_path) -> None:
    """There is no file to name; a checkpoint of the same module fits, one of another does not."""
    net, inputs = gated_net(), torch.zeros(2, 3, 8, 8)
    igc.save(net, tmp_path / "gated.pt", inputs)
    igc.export_onnx(igc.compile(net, inputs), tmp_path / "m.onnx")
    found = audited(tmp_path / "gated.pt", tmp_path / "m.onnx")
    assert found.passed, found.failures
    assert json.loads((tmp_path / "m.manifest.json").read_text())["checkpoint"]["sha256"] is None
    with torch.no_grad():
        net.heads["a"].fc.bias[0] += 1
    igc.save(net, tmp_path / "other.pt", inputs)
    assert any("'heads.a.fc.bias'" in f for f in audited(tmp_path / "other.pt",
                                                         tmp_path / "m.onnx").failures)  # fmt: skip


def test_what_cannot_be_certified_has_no_manifest(original, tmp_path) -> None:
    """A network that was loaded, or converted since."""
    static = igc.compile(original.checkpoint)
    static.save(tmp_path / "static.pt")
    igc.export_onnx(igc.load(tmp_path / "static.pt"), tmp_path / "a.onnx", simplify=False)
    igc.export_onnx(static.half(), tmp_path / "b.onnx", simplify=False)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["a.onnx", "b.onnx", "static.pt"]


def test_both_files_are_written_or_none(original, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "full")

    static = igc.compile(original.checkpoint)
    monkeypatch.setattr("igc.delivery.certify", fail)
    with pytest.raises(BadInput, match="no space left"):
        igc.export_onnx(static, tmp_path / "m.onnx", simplify=False)
    assert not list(tmp_path.iterdir())
