"""What each command does with the library's answers: files, streams, exit codes."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import igc.delivery
import igc.verification.proof
from igc.analysis.cost import Cost, NodeCost
from igc.emit import OnnxInfo
from igc.errors import BadInput
from igc.passes import Record
from igc.reports import Column, Report
from igc.verification.result import Check, Leg, group


def check(passed: bool) -> Check:
    leg = Leg("seg", "float64", "as given", 0.0 if passed else math.inf, 1.0, 1e-10, "by rule")
    return Check("reference", "candidate", group([leg]))


def costs(column: str = "static") -> Report:
    """A report with next to nothing in it: 1500 MACs in one layer, no parameters."""
    cost = Cost(
        input_shapes=((1, 3, 8, 8),),
        outputs=("seg",),
        nodes=(NodeCost("conv1", "aten.conv2d", "conv1", 1500, ("seg",)),),
        constants=(),
        peak_bytes=80,
    )
    missing = Column(None, why="no gates")
    return Report(
        "net",
        {column: Column(cost), "all_open": missing},
        column,
        opaque=({"layer": "fft", "op": "aten.fft", "reason": "", "macs": None},),
        warnings=("gates save nothing",),
    )


class Static(nn.Module):
    """Stands for what igc.compile returns."""

    compiled_from = None


@pytest.fixture
def ckpt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gated.pt").write_bytes(b"checkpoint")
    return tmp_path / "gated.pt"


@pytest.fixture
def engine(library, checkpoints, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A library in which everything works; records what it was called with."""
    seen: dict[str, Any] = {"verified": []}

    def compilation(
        network: nn.Module, inputs: Any = None, tasks: Any = None, **options: Any
    ) -> Any:
        print("chatter of a library")
        seen.update(network=network, inputs=inputs, tasks=tasks)
        return SimpleNamespace(static=Static(), record=Record())

    def verify(reference: Any, candidate: Any, **options: Any) -> Check:
        seen["verified"].append(candidate)
        if isinstance(candidate, Path):
            assert candidate.read_text() == "onnx"
        return check(passed=True)

    def report(reference: Any, static: Any = None, **options: Any) -> Report:
        seen["costs of"] = options.get("files")
        return costs()

    def write_onnx(static: nn.Module, path: Path, *, judge: Any, verification: Any) -> OnnxInfo:
        path.write_text("onnx")
        seen["recorded"] = None
        if verification is not None:
            judge(path)
            seen["recorded"] = verification(path)
        return OnnxInfo(str(path), 1, 4, 0, ("x",), ("seg",), False, "direct", "")

    def write_source(static: nn.Module, code: Path, weights: Path) -> None:
        code.write_text("source")
        weights.write_text("weights")

    def certify(
        static: nn.Module, model: Path, manifest: Path, hashes: Any, verification: Any, files: Any
    ) -> None:
        assert model.read_text() == "onnx"
        manifest.write_text("manifest")
        seen["figures"] = verification

    monkeypatch.setattr(igc.delivery, "compilation", compilation)
    monkeypatch.setattr(igc.delivery, "certify", certify)
    monkeypatch.setattr(igc.delivery, "write_onnx", write_onnx)
    monkeypatch.setattr(igc.delivery, "write_source", write_source)
    monkeypatch.setattr(igc.delivery, "save", lambda static, path: path.write_text("saved"))
    monkeypatch.setattr(igc.delivery, "cost_report", report)
    monkeypatch.setattr(igc.verification.proof, "verify", verify)
    library(load=lambda path: nn.Identity())
    return seen


class TestCompile:
    def test_writes_every_target(self, cli, ckpt, engine) -> None:
        extra = ["--torch-out", "s.pt", "--source-out", "net", "--report", "r.html"]
        done = cli("compile", ckpt, "--out", "m.onnx", "--tasks", "b,a", *extra)
        assert done.code == 0, done.err
        written = ["gated.pt", "m.manifest.json", "m.onnx", "net", "r.html", "s.pt"]
        assert sorted(os.listdir()) == written
        assert Path("m.manifest.json").read_text() == "manifest"
        assert set(engine["figures"]) == {"static", "onnx"}
        assert Path("m.onnx").read_text() == "onnx"
        assert Path("s.pt").read_text() == "saved"
        assert "1.5 k" in Path("r.html").read_text()
        assert Path("net/net.py").read_text() == "source"
        assert engine["tasks"] == ("b", "a")
        assert engine["inputs"] is None
        assert len(engine["verified"]) == 2
        assert engine["recorded"] == {"passed": True, "static": ["float64"], "onnx": ["float64"]}
        assert engine["costs of"]["gated"] == ckpt
        assert [file.name for file in engine["costs of"]["static"]] == ["m.onnx", "s.pt"]
        assert "1.5 k / 3 k" in done.out
        assert "note: gates save nothing" in done.out
        assert "no figures for all open (single-task networks): no gates" in done.out
        assert "kept whole: fft (aten.fft): no rule for this op" in done.out
        for name in ("m.onnx", "s.pt", "net", "r.html"):
            assert name in done.out

    @pytest.mark.parametrize("suffix", [".md", ".csv", ".json", ".html"])
    def test_report_format_follows_the_suffix(self, cli, ckpt, engine, suffix) -> None:
        assert cli("compile", ckpt, "--out", "m.onnx", "--report", f"r{suffix}").code == 0
        text = Path(f"r{suffix}").read_text()
        starts = {".md": "# Cost", ".csv": "section,", ".json": "{", ".html": "<!DOCTYPE"}
        assert text.startswith(starts[suffix])
        assert "gated.pt" in text

    def test_json_is_one_object_and_nothing_else(self, cli, ckpt, engine) -> None:
        done = cli("compile", ckpt, "--out", "m.onnx", "--json")
        values = json.loads(done.out)
        assert values["passed"] is True
        assert values["written"] == {"--out": "m.onnx", "manifest": "m.manifest.json"}
        assert values["report"]["total"]["macs"] == 1500
        assert values["verify"]["onnx"]["candidate"] == "m.onnx"
        assert values["verify"]["static"]["outputs"]["seg"]["passed"] is True
        assert "chatter" in done.err

    def test_no_verify(self, cli, ckpt, engine) -> None:
        done = cli("compile", ckpt, "--out", "m.onnx", "--no-verify", "--json")
        assert done.code == 0
        assert engine["verified"] == []
        assert json.loads(done.out)["verify"] is None
        assert engine["recorded"] is None
        assert engine["figures"] is None
        assert "not verified" in cli("compile", ckpt, "--out", "m.onnx", "--no-verify").out

    def test_inputs_are_made_as_typed(self, cli, ckpt, engine) -> None:
        shapes = ["--input", "2x3x4", "--input", "1x5:int64", "--input", "1:bool"]
        assert cli("compile", ckpt, "--out", "m.onnx", *shapes).code == 0
        image, ids, flag = engine["inputs"]
        assert (image.shape, image.dtype) == ((2, 3, 4), torch.float32)
        assert (ids.shape, ids.dtype) == ((1, 5), torch.int64)
        assert set(ids.flatten().tolist()) <= {0, 1}
        assert (flag.shape, flag.dtype) == ((1,), torch.bool)

    @pytest.mark.parametrize("wrong", ["static", "onnx"])
    def test_a_mismatch_writes_nothing(self, cli, ckpt, engine, monkeypatch, wrong) -> None:
        Path("m.onnx").write_text("older and good")

        def verify(reference: Any, candidate: Any, **options: Any) -> Check:
            return check(passed=isinstance(candidate, Path) != (wrong == "onnx"))

        monkeypatch.setattr(igc.verification.proof, "verify", verify)
        targets = ["--out", "m.onnx", "--torch-out", "s.pt", "--source-out", "net"]
        done = cli("compile", ckpt, *targets, "--json")
        assert done.code == 1
        assert "differ, so nothing was written" in done.err
        values = json.loads(done.out)
        assert values["passed"] is False
        assert values["written"] == {}
        assert values["verify"][wrong]["passed"] is False
        assert values["verify"][wrong]["outputs"]["seg"]["max_abs"] == "inf"
        assert sorted(os.listdir()) == ["gated.pt", "m.onnx"]
        assert Path("m.onnx").read_text() == "older and good"

    def test_a_failure_while_writing_leaves_nothing(self, cli, ckpt, engine, monkeypatch) -> None:
        def half(static: nn.Module, path: Path, **options: Any) -> None:
            Path(path).write_text("half")
            raise BadInput("no room left; free some")

        monkeypatch.setattr(igc.delivery, "write_onnx", half)
        Path("m.onnx").write_text("older and good")
        done = cli("compile", ckpt, "--out", "m.onnx")
        assert (done.code, done.err.splitlines()[-1]) == (2, "igc: no room left; free some")
        assert sorted(os.listdir()) == ["gated.pt", "m.onnx"]
        assert Path("m.onnx").read_text() == "older and good"


class TestNetworks:
    def test_state_dict_needs_a_model(self, cli, ckpt, engine, checkpoints) -> None:
        checkpoints(is_igc_file=lambda path: False)
        done = cli("compile", ckpt, "--out", "m.onnx")
        assert done.code == 2
        assert "--model FILE.py:factory" in done.err

    def test_state_dict_needs_a_shape(self, cli, ckpt, engine, checkpoints) -> None:
        checkpoints(is_igc_file=lambda path: False)
        done = cli("compile", ckpt, "--out", "m.onnx", "--model", "nets.py:make")
        assert done.code == 2
        assert "--input 1x3x224x224" in done.err

    def test_state_dict(self, cli, ckpt, engine, checkpoints) -> None:
        network = nn.Dropout()
        loaded = []
        checkpoints(is_igc_file=lambda path: False)
        checkpoints(
            build_model={"nets.py:make": network}.__getitem__,
            load_into=lambda module, path, key: [key, loaded.append((module, path))][:0],
        )
        shape = ["--input", "1x3"]
        done = cli("compile", ckpt, "--out", "m.onnx", "--model", "nets.py:make", *shape)
        assert done.code == 0, done.err
        assert engine["network"] is network
        assert not network.training
        assert loaded == [(network, ckpt)]

    def test_model_beside_an_igc_file_is_refused(self, cli, ckpt, engine) -> None:
        done = cli("compile", ckpt, "--out", "m.onnx", "--model", "nets.py:make")
        assert done.code == 2
        assert "leave out --model" in done.err


class TestVerify:
    @pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
    def test_exit_code(self, cli, ckpt, engine, library, passed, code) -> None:
        Path("m.onnx").write_text("onnx")
        library(verify=lambda *networks, **options: check(passed))
        expected = replace(check(passed), reference=str(ckpt))
        done = cli("verify", ckpt, "m.onnx")
        assert done.code == code
        assert done.out == f"{expected}\n"
        done = cli("verify", ckpt, "m.onnx", "--json")
        assert done.code == code
        assert json.loads(done.out) == expected.to_dict()

    def test_what_is_passed_on(self, cli, ckpt, engine, library) -> None:
        seen = []

        def verify(reference: Any, candidate: Path, inputs: Any, **options: Any) -> Check:
            seen.append((candidate, inputs, *options.values()))
            return check(True)

        library(verify=verify)
        Path("m.onnx").write_text("onnx")
        Path("d.npz").write_text("arrays")
        assert cli("verify", ckpt, "m.onnx").code == 0
        more = ("--inputs", "d.npz", "--only-inputs", "--tasks", "a,b", "--full-size")
        assert cli("verify", ckpt, "m.onnx", *more).code == 0
        model = Path("m.onnx")
        assert seen == [
            (model, None, False, None, False),
            (model, Path("d.npz"), True, ("a", "b"), True),
        ]

    def test_nothing_but_arrays_that_are_not_there(self, cli, ckpt, engine) -> None:
        Path("m.onnx").write_text("onnx")
        done = cli("verify", ckpt, "m.onnx", "--only-inputs")
        assert done.code == 2
        assert "--only-inputs needs the arrays of --inputs" in done.err

    @pytest.mark.parametrize("missing", ["gated.pt", "m.onnx", "d.npz"])
    def test_missing_file(self, cli, ckpt, engine, missing) -> None:
        for name in {"m.onnx", "d.npz"} - {missing}:
            Path(name).write_text("x")
        if missing == "gated.pt":
            ckpt.unlink()
        done = cli("verify", ckpt.name, "m.onnx", "--inputs", "d.npz")
        assert (done.code, done.err) == (2, f"igc: there is no file {missing}; check the name\n")
        assert engine["verified"] == []


class TestReport:
    @pytest.fixture
    def made(self, library, checkpoints) -> Report:
        library(report=lambda path, **options: costs("onnx"))
        return costs("onnx")

    def test_an_onnx_file_takes_no_model_and_no_input(self, cli, tmp_path) -> None:
        (tmp_path / "m.onnx").write_bytes(b"")
        for option in (["--input", "1x3x8x8"], ["--model", "nets.py:make"]):
            done = cli("report", tmp_path / "m.onnx", *option)
            assert done.code == 2
            assert "leave out --model and --input" in done.err

    def test_formats(self, cli, ckpt, made) -> None:
        for how, text in {
            "json": made.to_json(),
            "md": made.to_markdown(),
            "csv": made.to_csv(),
            "html": made.to_html(),
        }.items():
            done = cli("report", ckpt, "--format", how)
            assert (done.code, done.out, done.err) == (0, text, "")
        done = cli("report", ckpt)
        assert "1.5 k / 3 k" in done.out
        assert "conv1" in done.out

    @pytest.mark.parametrize(
        ("budgets", "code"),
        [
            (["--max-macs", "1.5k"], 0),
            (["--max-macs", "1499"], 1),
            (["--max-params", "1", "--max-macs", "1G"], 0),
        ],
    )
    def test_budgets(self, cli, ckpt, made, budgets, code) -> None:
        done = cli("report", ckpt, "--format", "csv", *budgets)
        assert done.code == code
        assert done.out == made.to_csv()
        says = f"igc: {ckpt}: 1,500 MACs, over the budget of 1,499\n"
        assert done.err == (says if code else "")
