"""Checkpoints in several files with an index, and indices that a stranger made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_files import Bomb, refused
from safetensors.torch import save_file
from torch import Tensor, nn

from igc.checkpoint import load_into, read_state_dict
from igc.checkpoint.shards import with_shards
from igc.errors import BadCheckpoint, BadInput

Save = Callable[[Any, Path], None]
SHARDS = ("m-00001-of-00002", "m-00002-of-00002")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def sharded(folder: Path, save: Save, ending: str, state: dict[str, Tensor]) -> Path:
    """Two shards and their index."""
    names = list(state)
    places = {}
    for shard, part in zip(SHARDS, (names[:2], names[2:]), strict=True):
        save({name: state[name] for name in part}, folder / (shard + ending))
        places |= dict.fromkeys(part, shard + ending)
    return index(folder, places, f"m{ending}.index.json")


def index(folder: Path, places: Any, name: str = "m.index.json") -> Path:
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return folder / name


@pytest.mark.parametrize(("save", "ending"), [(save_file, ".safetensors"), (torch.save, ".bin")])
@pytest.mark.parametrize("head", ["", "model."])
def test_shards_are_read(save: Save, ending: str, head: str, tmp_path: Path) -> None:
    source, target = net(), net()
    state = {head + k: v for k, v in source.state_dict().items()}
    path = sharded(tmp_path, save, ending, state)
    assert load_into(target, path) == ()
    assert all(torch.equal(target.state_dict()[k], v) for k, v in source.state_dict().items())
    assert with_shards(path) == [path, *(tmp_path / (shard + ending) for shard in SHARDS)]
    with pytest.raises(BadCheckpoint, match=r"one file of several: give their .index.json"):
        load_into(target, tmp_path / (SHARDS[0] + ending))


def test_a_folder_of_links_is_read(tmp_path: Path) -> None:
    """As download caches lay it out: index and shards are links into one folder beside."""
    blobs, view = tmp_path / "blobs", tmp_path / "view"
    blobs.mkdir(), view.mkdir()
    path = sharded(blobs, save_file, ".safetensors", net().state_dict())
    for file in blobs.iterdir():
        (view / file.name).symlink_to(file)
    assert len(read_state_dict(view / path.name)) == 7
    # the index a file of the folder, the shards links out of it
    (view / path.name).unlink()
    (view / path.name).write_bytes(path.read_bytes())
    refused(view / path.name, "lies outside its folder", read_state_dict)


OUTSIDE = {
    "up": "../secret.pt", "deep": "a/../../secret.pt", "absolute": "{}/secret.pt",
    "link": "link.pt", "linked folder": "linked/secret.pt", "up and back": "../model/w.pt",
}  # fmt: skip


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_shard_outside_the_folder_is_refused(case: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "secret.pt")
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save({"a": torch.ones(1)}, folder / "w.pt")
    (folder / "link.pt").symlink_to(tmp_path / "secret.pt")
    (folder / "linked").symlink_to(tmp_path)
    path = index(folder, {"a": OUTSIDE[case].format(tmp_path)})
    refused(path, "lies outside its folder", read_state_dict)
    assert list(read_state_dict(index(folder, {"a": "w.pt"}))) == ["a"]


def test_a_shard_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for shard in ("none.pt", "fifo", "folder"):
        with pytest.raises(BadInput, match="cannot read"):
            read_state_dict(index(tmp_path, {"a": shard}))
    (tmp_path / "round").symlink_to(tmp_path / "round")
    for shard in ("a\0b", "", ".", "round"):
        with pytest.raises(BadInput) as caught:
            read_state_dict(index(tmp_path, {"a": shard}))
        assert str(caught.value).isprintable()


def test_a_bomb_in_a_shard_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Bomb(tmp_path / "ran")}, tmp_path / "w.pt")
    refused(index(tmp_path, {"a": "w.pt"}), "posix.system", read_state_dict)
    assert not (tmp_path / "ran").exists()


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pt")
    for places, said in (
        ({"b": "w.pt"}, "'w.pt' lacks 'b', which the index names"),
        ({"a": 1}, "places 'a' in 1, expected a file"),
        ({"a": "m.index.json"}, "another index"),
        ({}, "no weight_map"),
        ([1], "no weight_map"),
        ({str(i): str(i) for i in range(5000)}, "names 5000 files"),
    ):
        refused(index(tmp_path, places), said, read_state_dict)
    path = tmp_path / "bad.json"
    for text in ("[" * 100_000, "{", "\x00\xff", "", "3", '{"weight_map": '):
        path.write_text(text)
        refused(path, "no proper JSON|no index", read_state_dict)
    with path.open("wb") as file:
        file.truncate(65 << 20)
    refused(path, "65 MiB, too large to be an index", read_state_dict)
