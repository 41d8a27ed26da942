"""Files that are damaged, foreign or hostile: one line, no code run, bounded time and memory."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import pickletools
import re
import resource
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_nets import rezipped, same, tiny_file, torch_archive
from torch import nn

import igc
from igc.checkpoint import load_program, read_state_dict
from igc.checkpoint.scan import scan
from igc.errors import BadCheckpoint, BadInput
from igc.serialize import to_data


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("good") / "net.pt")


def refused(path: Path, said: str = "", read: Callable[[Path], Any] = igc.load) -> str:
    """Asserts that reading `path` fails with one line that names the file and matches `said`."""
    with pytest.raises(BadCheckpoint, match=said or None) as caught:
        read(path)
    line = str(caught.value)
    assert path.name in line
    assert "\n" not in line and line.isprintable() and len(line) < 500
    return line


class Bomb:
    """Unpickled by Python, it makes a file; so the file tells whether code ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.proof}",)


def payload(path: Path) -> dict[str, Any]:
    """The content of a good checkpoint, for a test to spoil."""
    return dict(torch.load(path, weights_only=True))


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


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


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


def crafted(good: Path, target: Path, old: bytes, new: bytes) -> Path:
    """The good file with one piece of its pickle replaced."""
    with zipfile.ZipFile(good) as archive:
        pickled = archive.read("archive/data.pkl")
    assert pickled.count(old) >= 1
    return rezipped(good, target, {"data.pkl": pickled.replace(old, new)})


def test_tensors_larger_than_their_storage_are_refused(good: Path, tmp_path: Path) -> None:
    shape, stride = b"K\x03K\x04\x86", b"K\x04K\x01\x86"
    huge = b"\x8a\x08" + (1 << 40).to_bytes(8, "little")
    zero = b"K\x00K\x00\x86"
    with_shape = crafted(good, tmp_path / "a.pt", shape, huge + b"K\x04\x86")
    refused(with_shape)
    both = crafted(with_shape, tmp_path / "b.pt", stride, zero)
    refused(both, "more than the file holds")


def test_a_storage_that_claims_more_than_there_is_takes_no_memory(
    good: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(good) as archive:
        pickled = archive.read("archive/data.pkl")
    huge = b"\x8a\x08" + (1 << 42).to_bytes(8, "little")
    changed, count = re.subn(rb"(cpuq.)K.t", lambda m: m[1] + huge + b"t", pickled)
    assert count == 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = igc.load(rezipped(good, tmp_path / "net.pt", {"data.pkl": changed}))
    assert same(found(torch.ones(1, 4)), igc.load(good)(torch.ones(1, 4)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300 << 10


PAYLOADS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "list": (lambda p: [p], "holds no igc network"),
    "state_dict": (lambda p: p["tensors"], "--model FILE.py:factory"),
    "other format": (lambda p: {**p, "format": "onnx"}, "holds no igc network"),
    "newer version": (lambda p: {**p, "version": 2}, "version 2 of the format.*update igc"),
    "odd version": (lambda p: {**p, "version": [1]}, "version a list of 1"),
    "unknown kind": (lambda p: {**p, "kind": "executable"}, "unknown kind, 'executable'"),
    "extra key": (lambda p: {**p, "code": "1"}, "unknown field 'code'"),
    "no tensors": (lambda p: {k: v for k, v in p.items() if k != "tensors"}, "lacks the field"),
    "tensors a list": (lambda p: {**p, "tensors": [1]}, "expected a table of names"),
    "tensor a number": (lambda p: {**p, "tensors": {**p["tensors"], "alpha": 1}}, "is a int"),
    "number for name": (
        lambda p: {**p, "tensors": {**p["tensors"], 1: p["tensors"]["alpha"]}}, "expected text",
    ),
    "line in name": (
        lambda p: {**p, "tensors": {**p["tensors"], "a\nb": p["tensors"]["alpha"]}}, "unprintable",
    ),
    "unused tensor": (
        lambda p: {**p, "tensors": {**p["tensors"], "more": torch.ones(9)}}, "nothing uses",
    ),
    "missing tensor": (
        lambda p: {**p, "tensors": {k: v for k, v in p["tensors"].items() if k != "own.bias"}},
        "own.bias.*lacks",
    ),
    "conjugate": (
        lambda p: {**p, "tensors": {**p["tensors"], "alpha": (torch.ones(3) * 1j).conj()}},
        "'alpha' is of an unsupported kind",
    ),
    "complex gate": (
        lambda p: {**p, "tensors": {**p["tensors"], "alpha": torch.ones(3) * 1j}}, "is no real",
    ),
    "other shape": (
        lambda p: {**p, "tensors": {**p["tensors"], "own.weight": torch.ones(3, 5)}}, "cannot run",
    ),
    "other dtype": (
        lambda p: {**p, "tensors": {**p["tensors"], "own.weight": torch.ones(3, 4).int()}}, "",
    ),
    "program no text": (lambda p: {**p, "program": {}}, "expected JSON"),
    "program no JSON": (lambda p: {**p, "program": "{'a': 1}"}, "no proper JSON"),
    "program cut": (lambda p: {**p, "program": p["program"][:-5]}, "no proper JSON"),
    "program NaN": (lambda p: {**p, "program": '{"program": NaN, "state": {}}'}, "bare NaN"),
    "program deep": (lambda p: {**p, "program": "[" * 200_000}, "no proper JSON"),
    "program deep and closed": (lambda p: {**p, "program": "[" * 900 + "]" * 900}, "program"),
    "program huge number": (lambda p: {**p, "program": "1" * 5000}, "program"),
    "state of nothing": (lambda p: restate(p, {"none": "buffer"}), "state names 'none'"),
    "state unknown": (lambda p: restate(p, {"alpha": "code"}), "calls 'alpha' a 'code'"),
}  # fmt: skip


def restate(found: dict[str, Any], state: dict[str, str]) -> dict[str, Any]:
    header = json.loads(found["program"])
    header["state"].update(state)
    return {**found, "program": json.dumps(header)}


@pytest.mark.parametrize("case", PAYLOADS)
def test_spoilt_payloads_are_refused(case: str, good: Path, tmp_path: Path) -> None:
    spoil, said = PAYLOADS[case]
    torch.save(spoil(payload(good)), tmp_path / "net.pt")
    refused(tmp_path / "net.pt", said)


def test_zip_bombs_are_refused(good: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.pt"
    rezipped(good, packed, {}, compression=zipfile.ZIP_DEFLATED)
    refused(packed, "compressed entry")
    zeros = tmp_path / "zeros.pt"
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200 << 20))
    assert zeros.stat().st_size < 1 << 20
    refused(zeros, "compressed entry")

    # One stored entry that the directory lists many times over.
    overlapping = tmp_path / "overlap.pt"
    overlapping.write_bytes(_listed_again(rezipped(good, tmp_path / "plain.pt", {}), 500))
    refused(overlapping, "more than its own size")


def _listed_again(path: Path, times: int) -> bytes:
    data = path.read_bytes()
    *_, count, _, size, start, _ = struct.unpack("<4s4H2LH", data[-22:])
    directory = data[start : start + size] * times
    count = min(count * times, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    return data[:start] + directory + end


def test_archives_that_two_readers_would_read_differently_are_refused(
    good: Path, tmp_path: Path
) -> None:
    data = good.read_bytes()
    for name, content in {
        "comment.pt": data[:-2] + struct.pack("<H", 4) + b"tail",
        "tail.pt": data + b"PK\x05\x06",
        "head.pt": b"MZ" + data,
        "twice.pt": data + data,
        "empty.pt": b"",
        "short.pt": b"PK\x03\x04",
        "text.pt": b"hello, this is no checkpoint at all, only a line of text\n" * 10,
        "zeros.pt": bytes(5000),
    }.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name)
        refused(tmp_path / name, read=read_state_dict)


def test_odd_archives_are_refused(tmp_path: Path) -> None:
    def archive(name: str, *entries: str) -> Path:
        with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / name, "w") as new:
            warnings.simplefilter("ignore")
            for entry in entries:
                new.writestr(entry, opcodes(b"}"))
        return tmp_path / name

    refused(archive("two.pt", "archive/data.pkl", "archive/data.pkl"), "two entries")
    refused(archive("roots.pt", "archive/data.pkl", "other/data.pkl"), "none that torch.save")
    refused(archive("none.pt", "archive/version"), "none that torch.save")
    refused(archive("up.pt", "../data.pkl", "../../x"), "")
    refused(archive("dict.pt", "archive/data.pkl"), "")


@pytest.mark.parametrize("what", ["folder", "none", "fifo", "device", "nul", "secret"])
def test_what_is_no_readable_file_is_bad_input(what: str, tmp_path: Path) -> None:
    paths: dict[str, Any] = {
        "folder": tmp_path, "none": tmp_path / "none.pt", "fifo": tmp_path / "fifo",
        "device": "/dev/zero", "nul": "a\0b", "secret": tmp_path / "secret",
    }  # fmt: skip
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "secret").mkdir()
    for read in (igc.load, load_program, read_state_dict):
        with pytest.raises(BadInput, match="cannot read") as caught:
            read(paths[what])
        assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def test_a_file_that_changes_while_it_is_read_is_refused(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(good.read_bytes())
    load = torch.load

    def slow(*args: Any, **kwargs: Any) -> Any:
        found = load(*args, **kwargs)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(torch, "load", slow)
    refused(path, "changed while it was being read")


def test_a_flipped_bit_in_a_weight_is_found(good: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(good) as archive:
        entry = archive.getinfo("archive/data/0")
        weights = archive.read(entry)
    data = bytearray(good.read_bytes())
    at = data.index(weights, entry.header_offset)
    data[at] ^= 1
    (tmp_path / "net.pt").write_bytes(data)
    refused(tmp_path / "net.pt", "damaged: Bad CRC-32 for file 'archive/data/0'")


def _tells_the_truth(path: Path, expected: Any, x: torch.Tensor) -> bool:
    """Whether the file loads, and then as what was saved; `BadCheckpoint` is the other way out."""
    start = time.process_time()
    try:
        program = load_program(path)
        network = igc.load(path)
    except BadCheckpoint as error:
        line = str(error)
        assert "\n" not in line and line.isprintable()
        return False
    finally:
        assert time.process_time() - start < 5
    data, values = expected
    assert to_data(program)["nodes"] == data["nodes"]
    assert same(network(x), values)
    return True


@pytest.mark.parametrize("part", range(3))
def test_random_damage_is_refused_or_harmless(part: int, good: Path, tmp_path: Path) -> None:
    """One hundred bit flips, bursts, cuts and swaps each: refused, or loaded as it was saved."""
    generator = torch.Generator().manual_seed(part)
    original = good.read_bytes()
    x = torch.randn(2, 4, generator=generator)
    expected = to_data(load_program(good)), igc.load(good)(x)
    assert _tells_the_truth(good, expected, x)

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    refused_ones = 0
    for round_ in range(100):
        data = bytearray(original)
        at = pick(len(data))
        if round_ % 4 == 0:
            del data[at:]
        elif round_ % 4 == 1:
            data[at] ^= 1 << pick(8)
        elif round_ % 4 == 2:
            for i in range(at, min(at + 1 + pick(64), len(data))):
                data[i] = pick(256)
        else:
            other = pick(len(data))
            data[at : at + 16], data[other : other + 16] = (
                data[other : other + 16], data[at : at + 16],
            )  # fmt: skip
        path = tmp_path / "net.pt"
        path.write_bytes(data)
        refused_ones += not _tells_the_truth(path, expected, x)
    assert refused_ones > 40


def test_random_damage_under_right_checksums_is_refused_or_loads(
    good: Path, tmp_path: Path
) -> None:
    """Damage to the index itself, which no checksum betrays: nothing but `BadCheckpoint` comes."""
    generator = torch.Generator().manual_seed(7)
    with zipfile.ZipFile(good) as archive:
        original = archive.read("archive/data.pkl")

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    refused_ones = 0
    for round_ in range(200):
        data = bytearray(original)
        for _ in range(1 + pick(3)):
            at = pick(len(data))
            if round_ % 3 == 0:
                data[at] ^= 1 << pick(8)
            elif round_ % 3 == 1:
                data[at] = pick(256)
            else:
                del data[at : at + 1 + pick(4)]
        try:
            load_program(rezipped(good, tmp_path / "net.pt", {"data.pkl": bytes(data)}))
        except BadCheckpoint as error:
            refused_ones += str(error).isprintable()
    assert refused_ones > 100


def test_loading_opens_no_network_and_starts_no_process(good: Path) -> None:
    """Audit hooks cannot be removed, so this runs in a process of its own."""
    script = f"""
import sys, torch, igc, igc.checkpoint
from igc.checkpoint import load_program
load_program({str(good)!r})  # torch's own lazy imports are over after this

def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.fork")):
        print("seen", event)
    if event == "pickle.find_class" or (event == "exec" and "igc" in str(args)):
        print("seen", event, args)

sys.addaudithook(watch)
igc.load({str(good)!r})
print("done")
"""
    root = str(Path(igc.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert done.stdout == "done\n", done.stdout + done.stderr
