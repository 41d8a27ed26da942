"""Plain weight files and the factories that build the networks for them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_nets import tiny_file
from safetensors.torch import save_file
from torch import nn

from igc.checkpoint import build_model, load_into, read_state_dict
from igc.errors import BadCheckpoint, BadInput


def net(width: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, width, 1), nn.BatchNorm2d(width))


def agree(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_usual_wrappings_are_read(key: str | None, prefix: str, tmp_path: Path) -> None:
    wanted = net().state_dict()
    state = {prefix + k: v for k, v in wanted.items()}
    torch.save(state if key is None else {"epoch": 3, key: state}, tmp_path / "w.pt")
    assert agree(read_state_dict(tmp_path / "w.pt"), wanted)
    target = net()
    load_into(target, tmp_path / "w.pt")
    assert agree(target.state_dict(), wanted)


def test_safetensors_are_read(tmp_path: Path) -> None:
    wanted = net().state_dict()
    save_file(wanted, tmp_path / "w.safetensors")
    found = read_state_dict(tmp_path / "w.safetensors")
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in wanted.items()}
    load_into(net(), tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    for i, bad in enumerate((data[:60], data[:-9], b"\xff" * 7 + b"\x7f{", data[:8] + b"{}" * 40)):
        (tmp_path / f"{i}.safetensors").write_bytes(bad)
        with pytest.raises(BadCheckpoint, match=r"safetensors|no file"):
            read_state_dict(tmp_path / f"{i}.safetensors")


def test_a_prefix_that_only_some_names_have_stays(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "w.pt")
    assert list(read_state_dict(tmp_path / "w.pt")) == ["module.a", "b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1], "a list of 1, expected a state_dict"),
        (torch.ones(2), "expected a state_dict"),
        ({"a": 1}, "'a' is a int, expected a tensor"),
        ({"state_dict": {"a": [1]}}, "'a' is a list"),
        ({"model": {1: torch.ones(1)}}, "a key is 1, expected names"),
        ({"a": torch.ones(1).expand(1 << 20)}, "more than the file holds"),
    ],
)
def test_what_is_no_state_dict_is_refused(content: Any, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(BadCheckpoint, match=said) as caught:
        read_state_dict(tmp_path / "w.pt")
    assert "w.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_an_igc_checkpoint_is_no_state_dict(tmp_path: Path) -> None:
    tiny_file(tmp_path / "net.pt")
    with pytest.raises(BadCheckpoint, match="without --model"):
        read_state_dict(tmp_path / "net.pt")


def test_weights_of_another_network_are_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    other = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Linear(2, 2))
    torch.save(other.state_dict(), tmp_path / "w.pt")
    target = net()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(BadCheckpoint) as caught:
        load_into(target, tmp_path / "w.pt")
    line = str(caught.value)
    assert "does not fit Sequential" in line and "\n" not in line
    assert "5 missing: 1.weight, 1.bias, 1.running_mean" in line
    assert "2 unexpected: 2.weight, 2.bias" in line
    assert "2 of another shape: 0.weight (4x2x1x1 in the file, 3x2x1x1 in the network)" in line
    assert agree(target.state_dict(), before)


def test_long_lists_show_eight_names(tmp_path: Path) -> None:
    torch.save({f"w{i}": torch.ones(1) for i in range(30)}, tmp_path / "w.pt")
    with pytest.raises(BadCheckpoint, match=r"30 unexpected: w0, w1, .*, w7 and 22 more$"):
        load_into(nn.ReLU(), tmp_path / "w.pt")


FACTORY = """
import torch, neighbour
from torch import nn

def build(): return neighbour.net()
class Net(nn.Module): pass
ready = nn.Linear(1, 1)
def number(): return 3
def needs(argument): return nn.ReLU()
def fails(): raise RuntimeError("no\\nweights")
def leaves(): raise SystemExit(3)
not_callable = 7
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("neighbour", None)
    (tmp_path / "neighbour.py").write_text("from torch import nn\ndef net(): return nn.ReLU()\n")
    (tmp_path / "nets.py").write_text(FACTORY)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "wrong.py").write_text("def f(:\n")
    return tmp_path


def test_factories_build_networks(factory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(build_model(f"{factory / 'nets.py'}:build"), nn.ReLU)
    assert type(build_model(f"{factory / 'nets.py'}:Net")).__name__ == "Net"
    assert isinstance(build_model(f"{factory / 'nets.py'}:ready"), nn.Linear)
    monkeypatch.syspath_prepend(factory)
    assert isinstance(build_model("nets:build"), nn.ReLU)
    assert isinstance(build_model("torch.nn:ReLU"), nn.ReLU)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{}/nets.py", "write FILE.py:factory"),
        ("", "write FILE.py:factory"),
        ("{}/nets.py:", "write FILE.py:factory"),
        ("{}/nets.py:build()", "write FILE.py:factory"),
        ("{}/none.py:build", "no such file"),
        ("{}/nets.py:absent", "defines no 'absent'"),
        ("{}/nets.py:number", "returns a int, not an nn.Module"),
        ("{}/nets.py:not_callable", "TypeError"),
        ("{}/nets.py:needs", "TypeError: needs"),
        ("{}/nets.py:fails", "fails: RuntimeError: no weights"),
        ("{}/nets.py:leaves", "SystemExit: 3"),
        ("{}/broken.py:build", "broken.py:build: ModuleNotFoundError: .*nothing_of_that_name"),
        ("{}/wrong.py:build", "SyntaxError"),
        ("no.such.package:build", "ModuleNotFoundError"),
        ("..:build", "TypeError|ValueError|ModuleNotFoundError"),
    ],
)
def test_what_builds_no_network_is_one_line(spec: str, said: str, factory: Path) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        build_model(spec.format(factory))
    assert "\n" not in str(caught.value)
