"""Models that no ONNX file can hold, and weights that are not numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_runs import compile_arguments, listing

import igc
from igc.emit.onnx import write as writer
from igc.errors import BadInput
from igc_cli.main import run


def test_a_model_beyond_the_limit_is_refused_before_work(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is 2 GiB; here a few bytes, so that the test needs no more."""
    monkeypatch.setattr(writer, "LIMIT", 100)

    def lower(*_: object) -> None:
        raise AssertionError("it began to write")

    monkeypatch.setattr(writer, "direct", lower)
    static = igc.compile(checkpoint)
    with pytest.raises(BadInput, match=r"GiB of parameters.*half precision"):
        igc.export_onnx(static, tmp_path / "m.onnx")
    assert run([str(a) for a in compile_arguments(checkpoint, tmp_path, "--no-verify")]) == 2
    assert listing(tmp_path) == {}


def test_an_onnx_file_beyond_the_limit_is_refused_unread(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.onnx"
    with model.open("wb") as file:
        file.truncate(1 << 31)  # a hole: it takes no room
    (tmp_path / "m.manifest.json").write_text(
        '{"format": "igc manifest", "version": 1, "model": {}}'
    )
    for arguments in (
        ["report", model],
        ["verify", checkpoint, model],
        ["audit", model, "--against", checkpoint],
    ):
        assert run([str(a) for a in arguments]) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1
        assert "2.0 GiB, ONNX files are less than 2 GiB" in err


@pytest.mark.parametrize(
    ("name", "value", "said"), [("nan", "nan", "2 NaN"), ("inf", "inf", "2 infinite")]
)
def test_weights_that_are_not_finite_are_said_per_tensor(
    name: str,
    value: str,
    said: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, tensors = spoilt(checkpoint, tmp_path / f"{name}.pt", float(value))
    assert len(tensors) == 2
    assert run(["report", str(path), "--format", "json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    for tensor in tensors:
        assert [w for w in warnings if w.startswith(f"not finite: {tensor}: {said} of")]
    run(["compile", str(path), "--out", str(tmp_path / "m.onnx")])
    out, err = capsys.readouterr()
    assert all(f"not finite: {tensor}: {said}" in out for tensor in tensors)
    assert "defect in igc" not in err
    notes = igc.verify(igc.load(path), igc.load(path)).notes
    assert len([n for n in notes if n.startswith("not finite: ")]) == 2


def test_finite_weights_are_not_mentioned(checkpoint: Path) -> None:
    assert not [w for w in igc.report(checkpoint).to_dict()["warnings"] if "finite" in w]
    assert not [n for n in igc.verify(checkpoint, checkpoint).notes if "finite" in n]


def spoilt(checkpoint: Path, path: Path, value: float) -> tuple[Path, list[str]]:
    """The checkpoint with two values in each of two kernels replaced; the kernels' names."""
    payload: dict[str, Any] = dict(torch.load(checkpoint, weights_only=True))
    tensors = payload["tensors"]
    names = [n for n in tensors if n.endswith("weight") and tensors[n].ndim == 4][:2]
    for name in names:
        tensor = tensors[name].clone()
        tensor.view(-1)[:2] = value
        tensors[name] = tensor
    torch.save(payload, path)
    return path, names
