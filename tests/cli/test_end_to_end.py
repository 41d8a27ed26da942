"""The commands on real checkpoints, from the training script's files to the ONNX file."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import igc

SIZE = (2, 3, 16, 16)
NETS = """
import igc
from torch import nn

class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def make(width=8):
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    layers += [nn.Conv2d(width, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return igc.gate(nn.Sequential(*layers), heads={"a": Head(3), "b": Head(2)}, at="layer")

def wider():
    return make(12)
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A folder with gated.pt, weights.pt and nets.py, and the network itself."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "nets.py").write_text(NETS)
    scope: dict[str, object] = {}
    exec(NETS, scope)
    torch.manual_seed(1)
    net = scope["make"]()  # type: ignore[operator]
    with torch.no_grad():
        for alpha in net.gate_parameters():
            alpha.copy_(torch.randn_like(alpha) - 0.3)
    igc.save(net.eval(), folder / "gated.pt", (torch.zeros(SIZE),))
    torch.save({"state_dict": net.state_dict()}, folder / "weights.pt")
    return folder, net


@pytest.fixture
def here(trained, tmp_path, monkeypatch) -> Path:
    """A working folder with copies of the trained files."""
    for file in trained[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(path: str, pictures: Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {session.get_inputs()[0].name: pictures.numpy()})
    return dict(zip(names, values, strict=True))


def expect(net: nn.Module, path: str, names: list[str], rng: torch.Generator) -> None:
    pictures = torch.randn(5, 3, 16, 16, generator=rng)
    with torch.no_grad():
        wanted = net(pictures)
    found = outputs(path, pictures)
    assert list(found) == names
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name].numpy(), rtol=1e-4, atol=1e-5)


def test_compile_verify_report(cli, here, trained, rng) -> None:
    targets = ["--torch-out", "static.pt", "--source-out", "net", "--report", "cost.html"]
    done = cli("compile", "gated.pt", "--out", "m.onnx", *targets)
    assert done.code == 0, done.err
    assert done.err == ""
    expect(trained[1], "m.onnx", ["a", "b"], rng)
    assert sorted(os.listdir("net")) == ["net.py", "weights.safetensors"]
    static = igc.load("static.pt")
    assert igc.verify("gated.pt", static).passed
    assert Path("cost.html").read_text().startswith("<!DOCTYPE html>")
    meta = {entry.key: entry.value for entry in onnx.load("m.onnx").metadata_props}
    assert json.loads(meta["igc.verification"])["passed"] is True

    done = cli("verify", "gated.pt", "m.onnx")
    assert done.code == 0, done.out
    assert "agree" in done.out

    done = cli("report", "gated.pt", "--format", "json")
    assert done.code == 0, done.err
    values = json.loads(done.out)
    assert 0 < values["columns"]["static"]["macs"] < values["columns"]["gated"]["macs"]
    macs = values["total"]["macs"]
    assert cli("report", "gated.pt", "--max-macs", macs).code == 0
    done = cli("report", "gated.pt", "--max-macs", macs - 1)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert f"{macs:,} MACs" in done.err
    done = cli("report", "static.pt", "--format", "json")
    assert json.loads(done.out)["total"]["macs"] == macs


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes(cli, here) -> None:
    for name in ("one.onnx", "two.onnx"):
        assert cli("compile", "gated.pt", "--out", name).code == 0
    assert Path("one.onnx").read_bytes() == Path("two.onnx").read_bytes()


def test_tasks(cli, here, trained, rng) -> None:
    done = cli("compile", "gated.pt", "--out", "b.onnx", "--tasks", "b", "--json")
    assert done.code == 0, done.err
    assert list(json.loads(done.out)["verify"]["onnx"]["outputs"]) == ["b"]
    expect(trained[1], "b.onnx", ["b"], rng)
    assert cli("verify", "gated.pt", "b.onnx", "--tasks", "b").code == 0
    assert cli("verify", "gated.pt", "b.onnx").code == 1
    done = cli("compile", "gated.pt", "--out", "c.onnx", "--tasks", "c")
    assert done.code == 2
    assert "'c'" in done.err
    assert not Path("c.onnx").exists()


@pytest.mark.slow
def test_state_dict(cli, here, trained, rng) -> None:
    model = ["--model", "nets.py:make"]
    shape = ["--input", "2x3x16x16"]
    done = cli("compile", "weights.pt", "--out", "m.onnx", *model, *shape)
    assert done.code == 0, done.err
    expect(trained[1], "m.onnx", ["a", "b"], rng)
    assert cli("verify", "weights.pt", "m.onnx", *model).code == 0
    assert cli("report", "weights.pt", *model, *shape).code == 0


def test_verify_sees_a_difference(cli, here) -> None:
    assert cli("compile", "gated.pt", "--out", "m.onnx").code == 0
    model = onnx.load("m.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, "other.onnx")
    done = cli("verify", "gated.pt", "other.onnx", "--json")
    assert done.code == 1
    assert json.loads(done.out)["passed"] is False

    pictures = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    np.savez("pictures.npz", pictures)
    assert cli("verify", "gated.pt", "m.onnx", "--inputs", "pictures.npz").code == 0
    assert cli("verify", "gated.pt", "other.onnx", "--inputs", "pictures.npz").code == 1


def test_inspect(cli, here, trained) -> None:
    done = cli("inspect", "gated.pt", "--json")
    assert done.code == 0, done.err
    values = json.loads(done.out)
    assert list(values["gates"]) == list(trained[1].gates)
    for layer, by_task in trained[1].gates.items():
        for task, gate in by_task.items():
            opened = int((gate.alpha > 0).sum())
            assert values["gates"][layer][task]["open"] == opened
    assert values["tasks"] == ["a", "b"]
    done = cli("inspect", "gated.pt")
    assert "█" in done.out
    assert "all layers" in done.out
    assert (
        json.loads(cli("inspect", "weights.pt", "--model", "nets.py:make", "--json").out)["gates"]
        == values["gates"]
    )


def test_explain(cli, here) -> None:
    done = cli("explain", "gated.pt")
    assert done.code == 0, done.err
    assert "channels kept" in done.out
    done = cli("explain", "gated.pt", "heads.a", "--json")
    layers = {op["layer"] for op in json.loads(done.out)["ops"]}
    assert "heads.a.fc" in layers
    assert all(layer.startswith("heads.a") for layer in layers)
    model = ["--model", "nets.py:make", "--input", "2x3x16x16"]
    done = cli("explain", "weights.pt", "branches.a", *model)
    assert done.code == 0, done.err
    assert "branches.a.0" in done.out
    done = cli("explain", "gated.pt", "nowhere")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no layer 'nowhere'" in done.err


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("exploded",)


def damage(kind: str) -> list[str]:
    """Makes bad.pt, and returns the arguments of a compilation that has to be refused."""
    good = Path("gated.pt").read_bytes()
    arguments = ["bad.pt", "--out", "m.onnx"]
    model = ["--model", "nets.py:make", "--input", "2x3x16x16"]
    if kind == "truncated":
        Path("bad.pt").write_bytes(good[: len(good) // 2])
    elif kind == "empty":
        Path("bad.pt").write_bytes(b"")
    elif kind == "text":
        Path("bad.pt").write_text("not a checkpoint")
    elif kind == "code":
        Path("bad.pt").write_bytes(pickle.dumps({"state_dict": Bomb()}))
        arguments += model
    elif kind == "code in torch's format":
        torch.save({"state_dict": Bomb()}, "bad.pt")
        arguments += model
    elif kind == "another network":
        arguments = ["weights.pt", "--out", "m.onnx", "--model", "nets.py:wider", *model[2:]]
    elif kind == "wrong input":
        arguments = ["weights.pt", "--out", "m.onnx", *model[:2], "--input", "2x4x16x16"]
    elif kind == "no factory":
        arguments = ["weights.pt", "--out", "m.onnx", "--model", "nets.py:missing", *model[2:]]
    elif kind == "NaN gates":
        state = torch.load("weights.pt", weights_only=True)["state_dict"]
        name = next(name for name in state if name.endswith("alpha"))
        state[name][0] = torch.nan
        torch.save(state, "bad.pt")
        arguments += model
    return arguments


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "bad.pt"),
        ("empty", "bad.pt"),
        ("text", "bad.pt"),
        ("code", "bad.pt"),
        ("code in torch's format", "bad.pt"),
        ("another network", "branches"),
        ("wrong input", "(2, 4, 16, 16)"),
        ("no factory", "missing"),
        ("NaN gates", "NaN"),
    ],
)
def test_bad_input(cli, here, kind, says) -> None:
    arguments = damage(kind)
    before = sorted(os.listdir())
    done = cli("compile", *arguments)
    assert done.code == 2, done
    assert says in done.err
    assert done.err.startswith("igc: ")
    assert done.err.count("\n") == 1, done.err
    assert done.out == ""
    assert sorted(os.listdir()) == before


@pytest.mark.slow
def test_json_on_the_real_stdout(here) -> None:
    # Not in this process: libraries written in C print past sys.stdout.
    command = [sys.executable, "-m", "igc_cli", "compile", "gated.pt", "--out", "m.onnx", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    assert done.stderr == ""
