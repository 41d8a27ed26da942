"""ONNX files that nobody vouches for, given to `igc report` and `igc verify`."""

from __future__ import annotations

import builtins
import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_files import CASES, loop, outside

import igc
from igc.errors import BadInput
from igc.verifying import onnx_guard
from igc_cli.main import run


def spoilt(model: Path, case: str, folder: Path) -> Path:
    """The spoilt file in a folder of its own, a secret beside that folder."""
    (folder / "secret.bin").write_bytes(bytes(4096))
    (folder / "models").mkdir()
    made = onnx.load(model)
    CASES[case][0](made, folder / "models")
    path = folder / "models" / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize("case", CASES)
def test_hostile_files_are_refused_in_one_line(
    case: str, model: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, said = spoilt(model, case, tmp_path), CASES[case][1]
    before = sorted(tmp_path.rglob("*"))
    start = time.process_time()
    for arguments in (("report", path), ("verify", checkpoint, path)):
        assert run([str(a) for a in arguments]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert err.count("\n") == 1
        assert err.rstrip("\n").isprintable()
        assert said in err and "model.onnx" in err
    assert time.process_time() - start < 10
    assert sorted(tmp_path.rglob("*")) == before


def test_the_good_file_passes(model: Path, checkpoint: Path) -> None:
    assert igc.report(model).to_dict()["total"]["macs"] == 12
    assert igc.verify(checkpoint, model)


def test_no_file_but_the_model_is_opened(
    model: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spoilt(model, "data behind a link", tmp_path)
    opened: list[str] = []
    plain = builtins.open

    def watched(file: object, *args: object, **kwargs: object) -> object:
        opened.append(str(file))
        return plain(file, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", watched)
    for check in (lambda: igc.report(path), lambda: igc.verify(checkpoint, path)):
        with pytest.raises(BadInput, match="not opened"):
            check()
    assert str(path) in opened
    assert not [name for name in opened if "secret" in name or "link" in name]


def test_weights_beside_the_model_are_read(model: Path, checkpoint: Path, tmp_path: Path) -> None:
    """What other tools write for models of 2 GiB and more: in the folder, and of the right size."""
    made = onnx.load(model)
    values = onnx.numpy_helper.to_array(made.graph.initializer[0]).copy()
    outside("weights.bin")(made, tmp_path)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(values.tobytes())
    assert igc.verify(checkpoint, tmp_path / "model.onnx")
    (tmp_path / "weights.bin").write_bytes((values + np.float32(1)).tobytes())
    assert not igc.verify(checkpoint, tmp_path / "model.onnx")
    (tmp_path / "weights.bin").write_bytes(values.tobytes()[:-1])
    with pytest.raises(BadInput, match="too short"):
        igc.verify(checkpoint, tmp_path / "model.onnx")


def test_an_endless_loop_is_stopped(
    model: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = onnx.load(model)
    loop(made, tmp_path)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    monkeypatch.setattr(onnx_guard, "MAX_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(BadInput, match="stopped"):
        igc.verify(checkpoint, tmp_path / "model.onnx")
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("note", ["[" * 50_000, '{"x": [1e999]}', "[1]", '{"x": 7}', "\x00"])
def test_metadata_is_not_trusted(note: str, model: Path, tmp_path: Path) -> None:
    made = onnx.load(model)
    for entry in made.metadata_props:
        entry.value = note
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    assert igc.report(tmp_path / "model.onnx").to_dict()["total"]["macs"] == 12


def test_flipped_bits_and_cuts(model: Path, tmp_path: Path) -> None:
    """Four hundred of them: a report or one line, whatever the bytes."""
    generator = np.random.default_rng(0)
    good = model.read_bytes()
    refused = 0
    path = tmp_path / "model.onnx"
    for i in range(400):
        data = bytearray(good)
        if i % 4 == 0:
            del data[generator.integers(len(data)) :]
        for _ in range(i % 4):
            data[generator.integers(len(data))] ^= 1 << generator.integers(8)
        path.write_bytes(data)
        try:
            igc.report(path).to_html()
        except BadInput as error:
            refused += str(error).isprintable()
    assert refused > 100
    assert os.listdir(tmp_path) == ["model.onnx"]
