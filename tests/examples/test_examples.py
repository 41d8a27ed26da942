"""Every script of examples/ runs as it stands, and does what its first line says."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import onnx
import pytest

import igc

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUN_HERE = {"hand_written_gates", "gate_a_backbone", "budget_in_ci", "verify_in_pytest"}
pytest_plugins = "pytester"


@pytest.fixture
def here(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, but for a checkpoint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gated.pt").write_bytes(checkpoint.read_bytes())
    return tmp_path


def script(name: str) -> str:
    return str(EXAMPLES / f"{name}.py")


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == RUN_HERE


def test_hand_written_gates(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(script("hand_written_gates"))
    printed = capsys.readouterr().out
    for layer, width in (("shared", 15), ("seg", 4), ("depth", 2)):
        assert f"({layer}): Conv2d(3, {width}," in printed
    assert " agree\n" in printed


def test_gate_a_backbone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(script("gate_a_backbone"))
    printed = capsys.readouterr().out
    assert "model.onnx agree" in printed
    assert "open gates by layer and task" in printed
    outputs = onnx.load(here / "model.onnx", load_external_data=False).graph.output
    assert [o.name for o in outputs] == ["kind", "colour"]


@pytest.mark.parametrize("budget", ["as it is", "none"])
def test_budget_in_ci(
    budget: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(script("budget_in_ci")).read_text()
    if budget == "none":
        text = text.replace("5e6, 50e3", "1, 1")
    (here / "budget.py").write_text(text)
    monkeypatch.setattr(sys, "argv", ["budget.py", "gated.pt"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path("budget.py")
    said = capsys.readouterr()
    assert "# Cost of gated.pt" in said.out
    assert ended.value.code == (1 if budget == "none" else 0)
    assert ("over the budget of 1" in said.err) is (budget == "none")


@pytest.mark.parametrize("broken", [False, True])
def test_verify_in_pytest(
    broken: bool, here: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKPOINT", str(here / "gated.pt"))
    text = Path(script("verify_in_pytest")).read_text()
    if broken:  # another network's file
        other = igc.load(here / "gated.pt")
        for parameter in other.parameters():
            parameter.data.mul_(1.01)
        igc.save(other, here / "other.pt")
        monkeypatch.setenv("OTHER", str(here / "other.pt"))
        text = text.replace("igc.compile(CHECKPOINT)", "igc.compile(os.environ['OTHER'])")
    pytester.makepyfile(text)
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    done.assert_outcomes(passed=1 if broken else 2, failed=int(broken))
