"""Weight files written anew with their tensors alone."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from bad_files import Bomb
from safetensors.torch import load_file

from igc.checkpoint.convert import convert
from igc.errors import BadInput


def content(proof: Path) -> dict[str, object]:
    shared = torch.randn(4, 3)
    state = {"a": shared, "b": shared.t(), "c": torch.tensor(2), "d": torch.ones(2).half()}
    args = argparse.Namespace(run=Bomb(proof))
    return {"args": args, "model": state, "ema": {"a": torch.zeros(1)}}


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_the_tensors_alone_are_written_and_nothing_is_run(ending: str, tmp_path: Path) -> None:
    held = content(tmp_path / "ran")
    torch.save(held, tmp_path / "w.ckpt")
    made = convert(tmp_path / "w.ckpt", tmp_path / f"out{ending}")
    assert any("posix.system" in note for note in made.notes)
    read = load_file if ending == ".safetensors" else torch.load
    found, wanted = read(tmp_path / f"out{ending}"), held["model"]
    assert isinstance(wanted, dict) and found.keys() == wanted.keys()
    assert all(torch.equal(found[k], t) and found[k].dtype == t.dtype for k, t in wanted.items())
    convert(tmp_path / "w.ckpt", tmp_path / "ema.pt", "ema")
    assert list(torch.load(tmp_path / "ema.pt")) == ["a"]
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt")
    for out, said in (("w.onnx", "has to end in"), ("none/w.pt", "no folder")):
        with pytest.raises(BadInput, match=said):
            convert(tmp_path / "w.pt", tmp_path / out)
    assert [file.name for file in tmp_path.iterdir()] == ["w.pt"]
