"""Every command on hostile checkpoints, in a child with little memory: exit code 2, one line."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Ended, forked

import igc

MEMORY = 1 << 30  # bytes, on top of what the libraries take


class Bomb:
    """Unpickled by Python, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.proof}",)


Payload = dict[str, Any]
Make = Callable[[Path, Path], None]


def saved(change: Callable[[Payload, Bomb], Any]) -> Make:
    """What `change` makes of a good payload, saved."""

    def make(good: Path, path: Path) -> None:
        payload = dict(torch.load(good, weights_only=True))
        torch.save(change(payload, Bomb(path.with_name("ran"))), path)

    return make


def node(op: str, *args: Any) -> Make:
    """A good program with one more call, whose value is the output."""

    def change(payload: Payload, _: Bomb) -> Payload:
        header = json.loads(payload["program"])
        nodes = header["program"]["nodes"]
        call = {"name": "extra", "op": "call_function", "target": op, "args": list(args)}
        nodes.insert(-1, call)
        nodes[-1]["args"] = [{"node": "extra"}]
        return {**payload, "program": json.dumps(header)}

    return saved(change)


def deep(payload: Payload, _: Bomb) -> Payload:
    return {**payload, "program": '{"program":' + "[" * 100_000 + "]" * 100_000 + ',"state":{}}'}


def packed(good: Path, path: Path) -> None:
    """A hundred MiB of zeros in a tenth of one."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/99", bytes(100 << 20))


def cut(good: Path, path: Path) -> None:
    path.write_bytes(good.read_bytes()[:-100])


X = {"node": "x"}
CASES: dict[str, Make] = {
    "a pickle under state_dict": saved(lambda p, bomb: {"state_dict": bomb}),
    "a pickle under model": saved(lambda p, bomb: {"model": {"w": bomb}}),
    "a pickle beside a state_dict": saved(lambda p, bomb: {"state_dict": {}, "optimizer": bomb}),
    "a pickle in the program": saved(lambda p, bomb: {**p, "program": bomb}),
    "a pickle among the tensors": saved(lambda p, bomb: {**p, "tensors": {"own.weight": bomb}}),
    "a pickle in a list in a dict": saved(lambda p, bomb: {**p, "extra": [{"a": (1, [bomb])}]}),
    "a zip bomb": packed,
    "cut off": cut,
    "deep nesting": saved(deep),
    "terabytes": node("aten.full.default", [1 << 20, 1 << 21], 1.0),
    "gigabytes of constants": node("aten.full.default", [1 << 19, 1 << 11], 1.0),
    "a call of many operands": node("aten.cat.default", [X] * 60_000, 1),
    "a cycle": node("aten.relu.default", {"node": "extra"}),
    "a dangling name": node("aten.relu.default", {"node": "nowhere"}),
    "an op outside the table": node("aten.from_file.default", "/etc/passwd", False, 4),
    "absurd padding": node("aten.constant_pad_nd.default", X, [1 << 40, 1 << 40]),
    "absurd pooling": node("aten.max_pool2d.default", X, [1 << 40, 1]),
}  # fmt: skip


def check(done: Ended, folder: Path, before: list[Path]) -> None:
    assert done.code == 2, done.output
    assert done.output.count("\n") == 1 and done.output[:-1].isprintable(), done.output
    assert "internal error" not in done.output and len(done.output) < 600
    assert done.seconds < 20
    assert sorted(folder.rglob("*")) == before, "something was written, or run"


@pytest.mark.parametrize("case", CASES)
def test_compile_refuses(case: str, checkpoint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt"
    CASES[case](checkpoint, bad)
    before = sorted(tmp_path.rglob("*"))
    out = ("--out", tmp_path / "m.onnx", "--torch-out", tmp_path / "s.pt",
           "--source-out", tmp_path / "src", "--report", tmp_path / "r.html")  # fmt: skip
    check(forked("compile", bad, *out, memory=MEMORY), tmp_path, before)


@pytest.mark.parametrize("command", ["report", "inspect", "explain", "verify", "with a model"])
@pytest.mark.parametrize("case", ["a pickle under state_dict", "terabytes", "a zip bomb"])
def test_every_command_refuses(
    command: str, case: str, checkpoint: Path, model: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pt"
    CASES[case](checkpoint, bad)
    before = sorted(tmp_path.rglob("*"))
    arguments: tuple[object, ...] = (command, bad)
    if command == "verify":
        arguments = ("verify", bad, model)
    elif command == "with a model":
        arguments = ("report", bad, "--model", "torch.nn:Identity", "--input", "1x4")
    check(forked(*arguments, memory=MEMORY), tmp_path, before)


def test_the_good_one_compiles_in_that_memory(checkpoint: Path, tmp_path: Path) -> None:
    done = forked("compile", checkpoint, "--out", tmp_path / "m.onnx", memory=MEMORY)
    assert done.code == 0, done.output
    assert (tmp_path / "m.onnx").exists()


def test_sizes_that_no_input_has_are_no_second_image_size(checkpoint: Path, tmp_path: Path) -> None:
    """Two draws of one shape would be taken for one another."""

    def change(payload: Payload, _: Bomb) -> Payload:
        header = json.loads(payload["program"])
        (given,) = header["program"]["inputs"]
        given["dims"] = [4]
        return {**payload, "program": json.dumps(header)}

    path = tmp_path / "net.pt"
    saved(change)(checkpoint, path)
    igc.export_onnx(igc.compile(path), tmp_path / "m.onnx")
    assert igc.verify(path, tmp_path / "m.onnx")
