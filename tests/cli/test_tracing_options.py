"""`igc compile --print-after`, `--stop-after` and IGC_DUMP: what passes make, as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igc
from igc.program.parsing import parse


def test_programs_are_printed_dumped_and_cut_short(
    cli: Callable[..., Any], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IGC_DUMP", str(tmp_path / "dump"))
    model = tmp_path / "m.onnx"
    done = cli(
        "compile", checkpoint, "--out", model, "--json",
        "--print-after", "captured", "--print-after", "slice-channels",
        "--stop-after", "slice channels",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["written"]  # stdout holds the result and nothing else
    titles = [line for line in done.err.splitlines() if line.startswith("# ")]
    assert titles == ["# captured", "# after slice-channels"]
    files = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert files == [
        "00-captured.txt", "01-fold-constants.txt", "02-spell-out-writes.txt",
        "03-spell-out-stacks.txt", "04-slice-channels.txt",
    ]  # fmt: skip
    last = (tmp_path / "dump" / files[-1]).read_text()
    assert last in done.err and parse(last).outputs
    assert igc.verify(checkpoint, model)  # the network so far is a network


class Choice(nn.Module):
    """A gate that is a truth value: it stays one until channels are sliced."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)
        self.alpha = nn.Parameter(torch.tensor([1.0, -1.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.alpha > 0, self.a(x), self.b(x))


def test_a_network_that_was_cut_short_has_a_certificate(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    gated, model = tmp_path / "gated.pt", tmp_path / "m.onnx"
    igc.save(Choice(), gated, torch.randn(2, 4))
    done = cli("compile", gated, "--out", model, "--stop-after", "fold-constants")
    assert done.code == 0, done.err
    done = cli("audit", model, "--against", gated)
    assert done.code == 0, done.err


def test_a_pass_that_there_is_not_is_named_with_those_there_are(
    cli: Callable[..., Any], checkpoint: Path, tmp_path: Path
) -> None:
    for option in ("--print-after", "--stop-after"):
        done = cli("compile", checkpoint, "--out", tmp_path / "m.onnx", option, "nothing")
        assert done.code == 2 and len(done.err.strip().splitlines()) == 1
        assert "nothing" in done.err and "slice-channels" in done.err
    assert list(tmp_path.iterdir()) == []
