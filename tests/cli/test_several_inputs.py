"""Networks of several inputs and in half precision on the command line, from a state_dict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

NETS = """
import igc, torch
from torch import nn

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.picture, self.words = nn.Conv2d(3, 6, 3, padding=1), nn.Embedding(9, 6)
        self.last = nn.Linear(6, 6)

    def forward(self, picture, words):
        x = self.picture(picture).mean((2, 3)) + self.words(words).mean(1)
        return self.last(x.relu()).relu()

def make():
    return igc.gate(Both(), heads={"a": nn.Linear(6, 3), "b": nn.Linear(6, 2)}, at=["last"])

def brief():
    return make().bfloat16()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("several")
    (made / "nets.py").write_text(NETS)
    scope: dict[str, Any] = {}
    exec(NETS, scope)
    torch.manual_seed(1)
    net = scope["make"]()
    with torch.no_grad():
        for by_task in net.gates.values():
            for gate in by_task.values():
                gate.alpha.normal_()
    torch.save(net.state_dict(), made / "weights.pt")
    torch.save(net.bfloat16().state_dict(), made / "brief.pt")
    return made


@pytest.mark.slow
def test_one_input_option_for_each_input(folder: Path, cli: Callable[..., Any]) -> None:
    model = ("--model", f"{folder}/nets.py:make")
    shapes = ("--input", "1x3x8x8", "--input", "1x5:int64")
    file = folder / "net.onnx"
    done = cli("compile", folder / "weights.pt", *model, *shapes, "--out", file, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["passed"]
    kinds = {v.name: v.type.tensor_type.elem_type for v in onnx.load(str(file)).graph.input}
    assert kinds == {"picture": onnx.TensorProto.FLOAT, "words": onnx.TensorProto.INT64}
    told = cli("report", folder / "weights.pt", *model, *shapes, "--format", "json")
    assert told.code == 0, told.err
    assert json.loads(told.out)["input_shapes"] == [[1, 3, 8, 8], [1, 5]]
    short = cli("compile", folder / "weights.pt", *model, *shapes[:2], "--out", file)
    assert short.code == 2
    assert "words" in short.err


@pytest.mark.slow
def test_bfloat16_is_written_in_float32_and_says_so(folder: Path, cli: Callable[..., Any]) -> None:
    shapes = ("--input", "1x3x8x8:bfloat16", "--input", "1x5:int64")
    model = ("--model", f"{folder}/nets.py:brief")
    file = folder / "brief.onnx"
    done = cli("compile", folder / "brief.pt", *model, *shapes, "--out", file)
    assert done.code == 0, done.err
    assert "the reference is torch.bfloat16, the candidate torch.float32" in " ".join(
        (done.out + done.err).split()
    )
    outputs = onnx.load(str(file)).graph.output
    assert {o.type.tensor_type.elem_type for o in outputs} == {onnx.TensorProto.FLOAT}
