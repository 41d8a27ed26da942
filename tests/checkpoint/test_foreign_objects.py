"""Files with objects beside the tensors: the tensors are read, and nothing of the rest is run."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import io
import pathlib
import pickle
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_files import Bomb, opcodes, refused
from checkpoint_nets import torch_archive
from torch import Tensor, nn

from igc.checkpoint import load_into, read_state_dict
from igc.checkpoint.inert import Foreign, read_inert
from igc.checkpoint.weights import read_weights
from igc.errors import BadCheckpoint


class Colour(enum.Enum):
    RED = 1


class Config(dict[str, Any]):
    """A config as many libraries have it: a dict with attributes, and a state of its own."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.__dict__ = self


class Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = torch.ones(3)


OBJECTS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, device=torch.device("cpu"), more=[{"a": (1,)}]),
    "namespace with a tensor": argparse.Namespace(w=torch.ones(2)),
    "date": datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
    "delta": datetime.timedelta(3),
    "enum": Colour.RED,
    "config": Config(depth=3, inner=Config(width=[1, 2])),
    "slots": Slots(),
    "path": pathlib.PurePosixPath("/a/b"),
    "numpy": np.arange(3),
    "numpy number": np.float32(2),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "deque": collections.deque([1, 2]),
    "counter": collections.Counter("abca"),
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "frozenset": frozenset({1, (2, 3)}),
    "complex": 1j,
    "huge": 1 << 200,
    "function": torch.nn.functional.relu,
    "class": nn.Conv2d,
    "key": {(1, 2): {Colour.RED: 3}},
    "module": nn.Linear(2, 2),
}


def state() -> dict[str, Tensor]:
    shared = torch.randn(4, 6)
    return {
        "a": shared, "b": shared[1:, ::2].t(), "c": torch.tensor(3), "d": torch.randn(2).half(),
        "e": torch.arange(3), "f": torch.tensor([True, False]), "g": torch.zeros(0, 3),
        "h": torch.randn(2, dtype=torch.complex64), "i": torch.randn(2).bfloat16(),
        "j": nn.Parameter(torch.randn(2)),
    }  # fmt: skip


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return list(found) == list(wanted) and all(
        a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
        for a, b in zip(found.values(), wanted.values(), strict=True)
    )


@pytest.mark.parametrize("case", OBJECTS)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("where", ["beside", "before", "within"])
def test_tensors_are_read_and_objects_left_out(
    case: str, protocol: int, where: str, tmp_path: Path
) -> None:
    wanted, odd = state(), OBJECTS[case]
    content = {
        "beside": {"state_dict": wanted, "args": odd},
        "before": {"args": odd, "model": collections.OrderedDict(wanted)},
        "within": {"model": {"x": odd, **wanted}},
    }[where]
    torch.save(content, tmp_path / "w.pt", pickle_protocol=protocol)
    found = read_weights(tmp_path / "w.pt")
    assert same(found.tensors, wanted)
    assert found.tensors["a"].untyped_storage().data_ptr() == (
        found.tensors["b"].untyped_storage().data_ptr()
    )
    assert all(note.isprintable() and len(note) < 400 for note in found.notes)


def test_the_note_says_what_was_skipped(tmp_path: Path) -> None:
    torch.save({"model": state(), "args": OBJECTS["namespace"], "when": OBJECTS["date"]},
               tmp_path / "w.pt")  # fmt: skip
    (note,) = read_weights(tmp_path / "w.pt").notes
    assert note.startswith("skipped, and nothing of it was run: 'argparse.Namespace', 'datetime.")


def test_metadata_and_tensors_with_attributes_survive(tmp_path: Path) -> None:
    net = nn.BatchNorm1d(2)
    net.weight.kind = "norm"  # torch stores such a parameter in another way
    torch.save({"model": net.state_dict(), "args": argparse.Namespace()}, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    assert found.versions == {"": {"version": 2}}
    torch.save({"model": dict(net.named_parameters()), "args": OBJECTS["enum"]}, tmp_path / "p.pt")
    assert torch.equal(read_state_dict(tmp_path / "p.pt")["weight"], net.weight)
    load_into(nn.BatchNorm1d(2), tmp_path / "w.pt")


def test_writing_into_what_was_read_leaves_the_file_alone(tmp_path: Path) -> None:
    torch.save({"model": state(), "args": argparse.Namespace()}, tmp_path / "w.pt")
    before = (tmp_path / "w.pt").read_bytes()
    for tensor in read_state_dict(tmp_path / "w.pt").values():
        tensor.detach().zero_()
    assert (tmp_path / "w.pt").read_bytes() == before


class Disguised(argparse.Namespace):
    """Looks like a config; unpickled, it makes a file."""

    __hash__ = object.__hash__

    def __init__(self, proof: Path) -> None:
        super().__init__()
        self.proof = proof

    def __reduce__(self) -> Any:
        return Bomb(self.proof).__reduce__()


@pytest.mark.parametrize("place", ["beside", "within", "nested", "name", "key", "hooks", "state"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_beside_the_tensors_is_never_run(place: str, protocol: int, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    bomb, tensors = Disguised(proof), {"w": torch.ones(2), "v": torch.zeros(3)}
    content: dict[Any, Any] = {
        "beside": {"state_dict": tensors, "args": bomb},
        "within": {"state_dict": {"x": bomb, **tensors}},
        "nested": {"state_dict": tensors, "args": argparse.Namespace(deep=[{"a": (bomb,)}])},
        "name": {"state_dict": tensors, "epoch": bomb, "b": collections.defaultdict(list, a=bomb)},
        "key": {"state_dict": tensors, bomb: 1},
        "hooks": {"state_dict": collections.OrderedDict(tensors), "more": Config(a=bomb)},
        "state": {"state_dict": collections.OrderedDict(tensors)},
    }[place]
    if place == "state":
        content["state_dict"]._metadata = {"": {"version": bomb}}
    torch.save(content, tmp_path / "w.pt", pickle_protocol=protocol)
    found = read_weights(tmp_path / "w.pt")
    assert found.tensors["w"].eq(1).all() and len(found.tensors) == 2
    assert "posix.system" in " ".join(found.notes) and not found.versions
    assert not proof.exists()
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert proof.exists()  # the bomb is a real one


def test_tensors_rebuilt_by_code_are_not_made_up(tmp_path: Path) -> None:
    """A stand-in is no tensor: what a file wants called in its place is missing in the network."""
    torch.save({"weight": Bomb(tmp_path / "ran"), "bias": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(BadCheckpoint, match=r"1 missing: weight; skipped.*posix.system"):
        load_into(nn.Linear(1, 1), tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_under_a_key_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save({"model": nn.Linear(2, 2), "args": argparse.Namespace()}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", r"'model' is a torch.nn.modules.linear.Linear, which cannot be read"
            r".*save the state_dict", read_state_dict)  # fmt: skip
    refused(tmp_path / "w.pt", "'args' is a argparse.Namespace",
            lambda path: read_state_dict(path, "args"))  # fmt: skip


FOREIGN = b"cargparse\nNamespace\n)\x81"  # an object, without which torch reads the file itself
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(key: str, numel: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...],
           kind: bytes = b"Float") -> bytes:  # fmt: skip
    """The opcodes of a tensor of one's own making."""

    def number(n: int) -> bytes:
        return b"\x8a\x09" + n.to_bytes(9, "little", signed=True)

    def text(t: str) -> bytes:
        return b"X" + struct.pack("<I", len(t)) + t.encode()

    def several(ns: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, ns)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\n" + kind + b"Storage\n" + text(key) + text("cpu")
    return b"".join((
        REBUILD, b"(", storage, number(numel), b"tQ", number(offset), several(shape),
        several(stride), b"\x89ccollections\nOrderedDict\n)RtR",
    ))  # fmt: skip


def holding(*values: bytes) -> bytes:
    """A pickle of a state_dict with these values, beside an object."""
    items = b"".join(b"X\x01\0\0\0" + bytes([97 + i]) + v for i, v in enumerate(values))
    return opcodes(b"}(X\x05\0\0\0model}(", items, b"uX\x04\0\0\0args", FOREIGN, b"u")


def test_tensors_of_ones_own_making_are_read(tmp_path: Path) -> None:
    path = torch_archive(tmp_path / "w.pt", holding(tensor("0", 16, 1, (2, 3), (3, 1))))
    assert read_state_dict(path)["a"].tolist() == [[0, 0, 0], [0, 0, 0]]


HUGE = {
    "shape": tensor("0", 16, 0, (1 << 40,), (1,)),
    "no stride": tensor("0", 16, 0, (1 << 40, 1 << 40), (0, 0)),
    "beyond 64 bits": tensor("0", 16, 0, (1 << 62, 1 << 62), (0, 0)),
    "empty beyond 64 bits": tensor("0", 16, 0, (0, 1 << 40, 1 << 40), (1, 1, 1)),
    "offset": tensor("0", 16, 1 << 50, (1,), (1,)),
    "one too many": tensor("0", 16, 1, (16,), (1,)),
    "stride": tensor("0", 16, 0, (2,), (16,)),
    "claimed": tensor("0", 1 << 50, 0, (1 << 40,), (1,)),
    "negative shape": tensor("0", 16, 0, (-1,), (1,)),
    "negative stride": tensor("0", 16, 2, (2,), (-1,)),
    "negative offset": tensor("0", 16, -1, (1,), (1,)),
    "many dimensions": tensor("0", 16, 0, (1,) * 100_000, (1,) * 100_000),
    "unequal": tensor("0", 16, 0, (1, 1), (1,)),
    "other entry": tensor("../data.pkl", 16, 0, (1,), (1,)),
    "no entry": tensor("9", 16, 0, (1,), (1,)),
    "other storage": tensor("0", 16, 0, (1,), (1,), b"Evil"),
}


@pytest.mark.parametrize("case", HUGE)
def test_tensors_beyond_their_storage_are_refused(case: str, tmp_path: Path) -> None:
    path = torch_archive(tmp_path / "w.pt", holding(HUGE[case]))
    tracemalloc.start()
    refused(path, "more than the file holds|never writes|lacks the storage", read_state_dict)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def deep(opcode: bytes, start: bytes = b"]") -> bytes:
    return start + opcode * 200_000


# A tuple of two tuples of two tuples ...: 2**60 steps to hash or to print.
DOUBLED = (
    b"K\x01q\x000" + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(60)) + b"h%c" % 60
)

EATERS = {
    "nested lists": deep(b"", b"]" * 200_000) + b"a" * 199_999,
    "nested tuples": deep(b"\x85"),
    "doubling tuples": DOUBLED,
    "doubling key": b"}" + DOUBLED + b"K\x01s",
    "huge number": b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20),
    "bytearray": b"cbuiltins\nbytearray\n\x8a\x08" + (1 << 45).to_bytes(8, "little") + b"\x85R",
    "storage": b"ctorch\nFloatStorage\n\x8a\x08" + (1 << 45).to_bytes(8, "little") + b"\x85R",
    "calls of calls": b"cargparse\nNamespace\n" + b")R" * 100_000,
    "code": b"cbuiltins\neval\nX\x01\0\0\0a\x85R",
    "a dict in itself": b"}q\x00X\x05\0\0\0modelh\x00s",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", EATERS)
def test_what_eats_time_or_memory_elsewhere_is_harmless_here(case: str, tmp_path: Path) -> None:
    start = time.process_time()
    whole = torch_archive(tmp_path / "w.pt", opcodes(EATERS[case]))
    refused(whole, read=read_state_dict)
    path = torch_archive(tmp_path / "in.pt", holding(tensor("0", 16, 0, (2,), (1,)), EATERS[case]))
    assert list(read_state_dict(path)) == ["a"]
    assert time.process_time() - start < 10


BROKEN = {
    "empty stack": b"R", "no mark": b"t", "unknown memo": b"h\x09", "no list": b"K\x01K\x01a",
    "no dict": b"]K\x01K\x02s", "half a pair": b"}(K\x01u", "extension": b"\x82\x01",
    "text id": b"Pstorage\n", "buffer": b"\x97", "storage": b"K\x01Q", "add": b"](K\x01\x90",
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_pickles_are_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint):
        read_inert(opcodes(BROKEN[case]))
    refused(torch_archive(tmp_path / "w.pt", holding(BROKEN[case])), read=read_state_dict)


def test_a_stand_in_knows_its_name_alone() -> None:
    value, called = read_inert(pickle.dumps([Bomb(Path("x")), Colour.RED], protocol=2))
    assert all(isinstance(v, Foreign) for v in value)
    assert called[0] == "posix.system" and called[1].endswith("Colour")


def test_a_file_of_another_byte_order_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"model": state(), "args": argparse.Namespace()}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "w.pt", "w") as new:
        for entry in old.infolist():
            big = entry.filename.endswith("byteorder")
            new.writestr(entry.filename, b"big" if big else old.read(entry))
    refused(tmp_path / "w.pt", "another byte order, 'big'", read_state_dict)
