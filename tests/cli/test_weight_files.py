"""Weight files on the command line: `--key`, notes, `igc convert`."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(4))
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x) * (self.alpha > 0).to(x.dtype))


make = Net
"""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as training scripts write it; the average has other weights."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    scope: dict[str, Any] = {}
    exec(NETS, scope)
    raw, average = scope["make"](), scope["make"]()
    args = argparse.Namespace(lr=0.1, started=datetime.datetime(2024, 1, 2))
    torch.save(
        {"args": args, "model": {f"net._orig_mod.{k}": v for k, v in raw.state_dict().items()},
         "model_ema": {f"module.{k}": v for k, v in average.state_dict().items()}},
        "w.ckpt",
    )  # fmt: skip
    return tmp_path / "w.ckpt"


MODEL = ("--model", "nets.py:make")


@pytest.mark.slow
def test_compile_tells_what_it_took_and_a_key_chooses(
    cli: Callable[..., Any], weights: Path
) -> None:
    files = ("compile", weights, "--out", "m.onnx", *MODEL, "--input", "2x3")
    done = cli(*files)
    assert done.code == 0, done.err
    assert "igc: note: 'model' is taken, not 'model_ema'; --key chooses another\n" in done.err
    assert "igc: note: skipped, and nothing of it was run: 'argparse.Namespace'" in done.err
    raw = cli("audit", "m.onnx", "--against", weights, *MODEL, "--input", "2x3")
    assert raw.code == 0, raw.err
    done = cli(*files, "--key", "model_ema")
    assert done.code == 0 and "is taken" not in done.err
    key = ("--key", "model_ema")
    assert cli("audit", "m.onnx", "--against", weights, *MODEL, *key, "--input", "2x3").code == 0
    assert cli("audit", "m.onnx", "--against", weights, *MODEL, "--input", "2x3").code == 1
    assert cli("verify", weights, "m.onnx", *MODEL, *key).code == 0
    assert cli("verify", weights, "m.onnx", *MODEL).code == 1


@pytest.mark.parametrize(
    ("command", "more"),
    [("compile", ("--out", "m.onnx", "--input", "2x3")), ("report", ("--input", "2x3")),
     ("inspect", ()), ("explain", ("--input", "2x3"))],
)  # fmt: skip
def test_an_unknown_key_is_one_line(
    command: str, more: tuple[str, ...], cli: Callable[..., Any], weights: Path
) -> None:
    done = cli(command, weights, *MODEL, "--key", "best", *more)
    assert done.code == 2 and done.err.count("\n") == 1
    assert "it has no 'best'; it holds 'args', 'model', 'model_ema'" in done.err


def test_convert_writes_the_tensors_alone(cli: Callable[..., Any], weights: Path) -> None:
    done = cli("convert", weights, "--out", "w.safetensors", "--key", "model_ema")
    assert (done.code, done.out) == (0, f"w.safetensors: 5 tensors of {weights}\n")
    assert "nothing of it was run" in done.err
    assert cli("explain", "w.safetensors", *MODEL, "--input", "2x3").code == 0
    made = json.loads(cli("convert", weights, "--out", "w.pt", "--json").out)
    assert made["tensors"]["net.alpha"] == [4] and len(made["notes"]) == 2
    assert set(torch.load("w.pt")) == set(made["tensors"])
    done = cli("convert", "none.pt", "--out", "w.pt")
    assert done.code == 2 and done.err.count("\n") == 1
