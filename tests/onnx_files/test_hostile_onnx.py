"""ONNX files that nobody vouches for, given to `igc report` and `igc verify`."""

from __future__ import annotations

import builtins
import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile_onnx import CASES, behind, constant, loop, outside
from onnx import helper

import igc
from igc.errors import BadInput
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


@pytest.mark.parametrize("part", ["name", "op_type", "domain", "attribute", "output"])
def test_names_that_are_no_text_are_refused(
    part: str, model: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protobuf may give bytes where a name is not even UTF-8, or refuse the file itself."""
    made = onnx.load(model)
    node = made.graph.node[0]
    if part == "attribute":
        node.attribute.append(onnx.helper.make_attribute("mark", 1))
    elif part == "output":
        made.graph.output[0].name = node.output[0] = "mark"
    else:
        setattr(node, part, "mark")
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString().replace(b"mark", b"m\xff\xfek"))
    for arguments in (("report", path), ("verify", checkpoint, path)):
        assert run([str(a) for a in arguments]) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1 and err.rstrip("\n").isprintable()


def complex_output(made: onnx.ModelProto) -> None:
    behind(made, constant("c", np.ones((2, 3), np.complex64)),
           helper.make_node("Identity", ["c"], [made.graph.output[0].name]))  # fmt: skip
    kind = made.graph.output[0].type.tensor_type
    kind.elem_type = onnx.TensorProto.COMPLEX64


def odd_reduction(made: onnx.ModelProto) -> None:
    """Along an axis that the value does not have."""
    name = made.graph.output[0].name
    reduced = helper.make_node("ReduceMax", ["before", "axes"], [name])
    behind(made, constant("axes", np.array([5])), reduced)


@pytest.mark.parametrize("spoil", [complex_output, odd_reduction])
def test_what_no_runtime_can_run_could_not_be_checked(
    spoil, model: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = onnx.load(model)
    spoil(made)
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    assert run(["verify", str(checkpoint), str(path)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "does not run" in err
    assert not igc.verify(checkpoint, path)
    assert run(["report", str(path)]) == 0  # what it costs can be told all the same


def test_a_value_without_a_name_is_no_hindrance(
    model: Path, checkpoint: Path, tmp_path: Path
) -> None:
    made = onnx.load(model)
    made.graph.value_info.append(helper.make_tensor_value_info("", 1, [1]))
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    assert run(["report", str(tmp_path / "model.onnx")]) == 0
    assert run(["verify", str(checkpoint), str(tmp_path / "model.onnx")]) == 0


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
    monkeypatch.setattr("igc.onnx_files.session.MAX_SECONDS", 0.3)
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
