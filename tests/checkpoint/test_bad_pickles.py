"""Pickles that would run code, or eat memory or time: refused unread."""

import collections
import io
import pickle
import pickletools
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_files import Bomb, opcodes, payload, refused
from checkpoint_nets import torch_archive
from torch import nn

import igc
from igc.checkpoint import load_program, read_state_dict
from igc.checkpoint.scan import scan
from igc.errors import BadCheckpoint

PLACES: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "whole": lambda p, bomb: bomb,
    "inside a list": lambda p, bomb: [bomb],
    "format": lambda p, bomb: {**p, "format": bomb},
    "kind": lambda p, bomb: {**p, "kind": bomb},
    "version": lambda p, bomb: {**p, "version": bomb},
    "program": lambda p, bomb: {**p, "program": bomb},
    "tensors": lambda p, bomb: {**p, "tensors": bomb},
    "one tensor": lambda p, bomb: {**p, "tensors": {**p["tensors"], "alpha": bomb}},
    "extra key": lambda p, bomb: {**p, "sample_inputs": bomb},
    "key": lambda p, bomb: {**p, (bomb,): 1},
    "behind the end": lambda p, bomb: collections.OrderedDict(p, zzz=(1, [bomb])),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickled_code_is_never_run(place: str, protocol: int, good: Path, tmp_path: Path) -> None:
    proof, path = tmp_path / "ran", tmp_path / "bomb.pt"
    torch.save(PLACES[place](payload(good), Bomb(proof)), path, pickle_protocol=protocol)
    for read in (igc.load, load_program, read_state_dict):
        line = refused(path, read=read)
        assert protocol != 2 or "posix.system" in line
    assert not proof.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load(path, weights_only=False)  # the bomb is a real one
    assert proof.exists()


def test_pickled_code_in_other_wrappings_is_never_run(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    bomb = pickle.dumps(Bomb(proof), protocol=2)
    (tmp_path / "bare.pt").write_bytes(bomb)
    legacy = io.BytesIO()
    torch.save({"w": Bomb(proof)}, legacy, _use_new_zipfile_serialization=False)
    (tmp_path / "legacy.pt").write_bytes(legacy.getvalue())
    with zipfile.ZipFile(tmp_path / "exported.pt2", "w") as archive:
        archive.writestr("archive/version", "1")
        archive.writestr("archive/data/sample_inputs/model.pt", bomb)
    torch_archive(tmp_path / "made.pt", bomb)
    with zipfile.ZipFile(tmp_path / "script.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("script/data.pkl", bomb)
        archive.writestr("script/constants.pkl", bomb)
        archive.writestr("script/code/net.py", "def forward(self): pass" * 9)
    for name, said in (
        ("bare.pt", "no file that igc.save or torch.save wrote"),
        ("legacy.pt", "before 1.6"),
        ("exported.pt2", "none that torch.save writes"),
        ("made.pt", "posix.system"),
        ("script.pt", "TorchScript"),
    ):
        refused(tmp_path / name, said)
        refused(tmp_path / name, said, read_state_dict)
    assert not proof.exists()


def test_a_whole_pickled_module_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    refused(tmp_path / "module.pt", "torch.nn.modules.linear.Linear, which igc never does")


def big_call(name: bytes, number: int) -> bytes:
    """A pickle that calls `name(number)`."""
    packed = number.to_bytes(8, "little", signed=True)
    return opcodes(b"c", name, b"\n", b"\x8a\x08", packed, b"\x85", b"R")


def tuples_as_key() -> bytes:
    """A dict with one key, a tuple of two tuples of two tuples ...: 2**60 steps to hash."""
    deeper = b"".join(b"h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1])
                      for i in range(60))  # fmt: skip
    return opcodes(b"K\x01q\x00", deeper, b"0" * 0, b"}", b"h\x3cK\x01s")


HUNGRY = {
    "bytearray": big_call(b"builtins\nbytearray", 1 << 45),
    "tensor": big_call(b"torch\nTensor", 1 << 45),
    "float tensor": big_call(b"torch\nFloatTensor", 1 << 45),
    "storage": big_call(b"torch.storage\nUntypedStorage", 1 << 45),
    "set": big_call(b"builtins\nset", 1),
    "bytes": opcodes(b"c_codecs\nencode\n", b"X\x01\0\0\0a", b"\x85R"),
    "tuples as key": tuples_as_key(),
    "tuple as key": opcodes(b"}", b"K\x01\x85", b"K\x02", b"s"),
    "tuples as keys": opcodes(b"}(", b"K\x01\x85", b"K\x02", b"u"),
    "huge number": opcodes(b"\x8a\xff", b"\x7f" * 255),
    "storage by a tuple of tuples": opcodes(b"K\x01\x85\x85Q"),
    "storage by number": opcodes(b"K\x01Q"),
    "empty stack": opcodes(b"R"),
    "no mark": opcodes(b"t"),
    "unknown memo": opcodes(b"h\x09"),
    "cut off": b"\x80\x02}q",
    "cut text": b"\x80\x02X\xff\xff\xff\x7fabc",
    "other protocol": pickle.dumps({"format": "igc"}, protocol=4),
    "object": b"\x80\x02" + b"(ccollections\nOrderedDict\no.",
    "instance": b"\x80\x02(icollections\nOrderedDict\n.",
    "new object": opcodes(b"ctorch\nSize\n", b")\x81"),
    "text number": b"\x80\x02I" + b"1" * 100 + b"\n.",
}


@pytest.mark.parametrize("case", HUNGRY)
def test_pickles_that_eat_memory_or_time_are_refused_unread(case: str, tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(BadCheckpoint):
        scan(HUNGRY[case])
    refused(torch_archive(tmp_path / "net.pt", HUNGRY[case]))
    refused(tmp_path / "net.pt", read=read_state_dict)
    assert time.process_time() - start < 5


def test_the_scan_lets_pass_what_torch_writes() -> None:
    shared = torch.randn(3)
    state = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).state_dict()
    buffer = io.BytesIO()
    extra = {"lr": 0.1, "big": 1 << 40, "none": None, "flags": [True, (1, 2)], "size": shared.shape,
             "type": torch.float16, "parameter": nn.Parameter(shared), "same": shared,
             "empty": {}, "scalar": torch.tensor(1)}  # fmt: skip
    torch.save({"state_dict": state, **extra}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        pickled = archive.read("archive/data.pkl")
    scan(pickled)
    assert "GLOBAL" in {op.name for op, _, _ in pickletools.genops(pickled)}
