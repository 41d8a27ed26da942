"""What the gates say, against figures worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from report_nets import Bottleneck, Gated, Mix, Plain, picture
from torch import nn

from igc.capture import capture
from igc.checkpoint import save
from igc.compiler import compile_program
from igc.errors import BadInput
from igc.nn import gate
from igc.program import Program
from igc.reports import report
from igc.reports.inspection import bar, inspect


class Mixed(Gated):
    def __init__(self) -> None:
        super().__init__({"seg": [0, 2], "depth": [1]})
        self.mixes = nn.ModuleDict({"conv": Mix()})


def test_module_and_program_say_the_same(gated: Program) -> None:
    module = inspect(Gated({"seg": [0, 2], "depth": [1]}))
    program = inspect(gated)
    assert module.gates == program.gates
    assert program.by_task() == {"seg": 0.5, "depth": 0.25}
    assert program.to_dict()["gates"] == {
        "conv": {
            "seg": {"channels": 4, "open": 2, "share": 0.5},
            "depth": {"channels": 4, "open": 1, "share": 0.25},
        }
    }
    json.dumps(program.to_dict(), allow_nan=False)


def test_mixes() -> None:
    found = inspect(Mixed())
    share = 1 / (1 + math.e)
    assert found.mixes["conv"]["seg"] == pytest.approx(share)
    assert sum(found.mixes["conv"].values()) == pytest.approx(1)
    assert "share of each task in the mixes" in str(found)


def test_exactly_one_half_is_closed() -> None:
    net = Gated({"seg": [], "depth": []})
    with torch.no_grad():
        net.gates["conv"]["seg"].alpha.copy_(torch.tensor([0.0, 1e-9, 1e-3, -1.0]))
    assert inspect(net).by_task()["seg"] == 0.25


def test_bars(gated: Program) -> None:
    assert bar(0.0) == "·" * 20
    assert bar(1.0) == "█" * 20
    assert bar(0.5) == "█" * 10 + "·" * 10
    text = str(inspect(gated))
    assert " 50.0%  2 of 4" in text
    assert " 25.0%  1 of 4" in text


def test_nan_gates_are_refused_by_name(gated: Program) -> None:
    constants = dict(gated.constants)
    name = gated.gates["conv"]["depth"]
    constants[name] = torch.tensor([1.0, float("nan"), -1.0, 0.0])
    with pytest.raises(BadInput, match="layer 'conv', task 'depth' is NaN in 1 of 4"):
        inspect(replace(gated, constants=constants))
    net = Mixed()
    with torch.no_grad():
        net.mixes["conv"].beta[0, 0] = float("nan")
    with pytest.raises(BadInput, match="mix of layer 'conv' is NaN"):
        inspect(net)


def test_unknown_gates() -> None:
    with pytest.raises(BadInput, match="not known by name"):
        inspect(Plain())
    with pytest.raises(BadInput, match="not a int"):
        inspect(3)  # type: ignore[arg-type]


def test_block_gates_that_save_nothing_are_told() -> None:
    found = inspect(capture(Bottleneck([0]).eval(), picture()))
    (warning,) = found.warnings
    assert "one open channel keeps a whole block alive" in warning
    assert "25%" in warning
    assert "warning: one open" in str(found)


def test_a_static_network_has_no_gates_left(gated: Program) -> None:
    static, _ = compile_program(gated)
    with pytest.raises(BadInput, match="compiled already"):
        inspect(static)
    values = report(static).to_dict()
    assert values["gates"] == {}
    assert values["columns"]["all_open"]["available"] is False


def test_a_network_that_igc_made(tmp_path: Path) -> None:
    """The names that `igc.gate` gives reach the program, the file, the report and inspect."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    heads = {t: nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 2)) for t in ("seg", "depth")}
    net = gate(backbone, heads=heads, at=["0"])
    with torch.no_grad():
        net.gates["0"]["seg"].alpha.copy_(torch.tensor([1.0, -1, -1, 1]))
        net.gates["0"]["depth"].alpha.copy_(torch.tensor([-1.0, -1, -1, 1]))
    program = capture(net.eval(), picture())
    assert inspect(program).by_task() == inspect(net).by_task() == {"seg": 0.5, "depth": 0.25}
    save(net, tmp_path / "gated.pt", picture())
    assert inspect(tmp_path / "gated.pt").gates == inspect(net).gates
    columns = report(tmp_path / "gated.pt").to_dict()["columns"]
    assert all(column["available"] for column in columns.values())
    assert columns["gated"]["files"]["gated.pt"] > 0
    per_channel, heads_cost = 27 * 36, 2 * 4 * 36 * 2
    assert columns["all_open"]["macs"] == 8 * per_channel + heads_cost
    assert columns["all_closed"]["macs"] == 4 * per_channel + heads_cost
    assert columns["static"]["macs"] == (3 + 3) * per_channel + heads_cost
