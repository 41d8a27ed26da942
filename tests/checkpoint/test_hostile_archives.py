"""Archives that torch and zipfile may read differently, and pickles that shadow what igc calls."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_files import Bomb, opcodes, payload, refused
from checkpoint_nets import torch_archive

import igc
from igc.checkpoint import read_state_dict
from igc.checkpoint.reading import check_containers, check_tensor
from igc.errors import BadCheckpoint
from igc_cli.main import run

Entries = list[tuple[zipfile.ZipInfo, bytes]]


def rewritten(good: Path, path: Path, change: Callable[[Entries], Entries]) -> Path:
    """The archive with other entries; names, order, contents and attributes are free."""
    with zipfile.ZipFile(good) as old:
        entries = [(zipfile.ZipInfo(e.filename), old.read(e)) for e in old.infolist()]
    with zipfile.ZipFile(path, "w") as new:
        for entry, data in change(entries):
            new.writestr(entry, data)
    return path


def root(entries: Entries) -> str:
    return entries[0][0].filename.partition("/")[0]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["DATA.PKL", "data.PKL", "Data.pkl"])
def test_a_second_index_in_other_letters_is_refused(
    name: str, first: bool, good: Path, tmp_path: Path
) -> None:
    """torch looks entries up without heeding case: it would read the one that nobody scanned."""

    def change(entries: Entries) -> Entries:
        more = (zipfile.ZipInfo(f"{root(entries)}/{name}"), opcodes(b"}"))
        return [more, *entries] if first else [*entries, more]

    path = rewritten(good, tmp_path / "net.pt", change)
    refused(path, "two entries have one name")
    refused(path, "two entries have one name", read_state_dict)


@pytest.mark.parametrize("name", ["data.pkl", "DATA/0", "version"])
def test_an_entry_that_is_there_twice_is_refused(name: str, good: Path, tmp_path: Path) -> None:
    def change(entries: Entries) -> Entries:
        return [*entries, (zipfile.ZipInfo(f"{root(entries)}/{name}"), b"2\n")]

    with pytest.warns(UserWarning, match="Duplicate") if name != "DATA/0" else _nothing():
        path = rewritten(good, tmp_path / "net.pt", change)
    refused(path, "two entries have one name")


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_a_name_with_an_end_inside_is_refused(good: Path, tmp_path: Path) -> None:
    """zipfile reads names up to a zero byte, torch reads on."""

    def change(entries: Entries) -> Entries:
        return [*entries, (zipfile.ZipInfo(f"{root(entries)}/data.pkX.y"), b"2\n")]

    path = rewritten(good, tmp_path / "net.pt", change)
    path.write_bytes(path.read_bytes().replace(b"data.pkX.y", b"data.pk\0.y"))
    refused(path)


def test_comments_and_links_in_an_archive_are_harmless(good: Path, tmp_path: Path) -> None:
    """Nothing is unpacked, so an entry that calls itself a link is bytes like any other."""

    def change(entries: Entries) -> Entries:
        for entry, _ in entries:
            entry.comment = b"\x1b[2J"
            entry.external_attr = 0o120777 << 16
            entry.create_system = 3
        return entries

    path = rewritten(good, tmp_path / "net.pt", change)
    x = torch.ones(2, 4)
    assert torch.equal(igc.load(path)(x), igc.load(good)(x))
    path.write_bytes(good.read_bytes()[:-2] + struct.pack("<H", 4) + b"tail")
    refused(path)


def test_a_link_to_a_file_is_followed_and_one_to_nothing_is_refused(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link, broken, loop = (tmp_path / n for n in ("link.pt", "broken.pt", "loop.pt"))
    link.symlink_to(good)
    broken.symlink_to(tmp_path / "none")
    loop.symlink_to(loop)
    assert igc.load(link) is not None
    for path in (broken, loop):
        assert run(["inspect", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_large_archives_are_read_as_others(good: Path, tmp_path: Path) -> None:
    """Sizes in 64 bits, where 32 would do."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(tmp_path / "net.pt", "w") as new:
        for entry in old.infolist():
            with new.open(entry.filename, "w", force_zip64=True) as stream:
                stream.write(old.read(entry))
    x = torch.ones(2, 4)
    assert torch.equal(igc.load(tmp_path / "net.pt")(x), igc.load(good)(x))


def test_sizes_that_only_one_of_two_headers_tells_are_refused(good: Path, tmp_path: Path) -> None:
    """An entry that is larger in the directory than in the file reaches into the next one."""
    path = rewritten(good, tmp_path / "net.pt", lambda entries: entries)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    for place in (20, 24):
        (size,) = struct.unpack_from("<L", data, at + place)
        struct.pack_into("<L", data, at + place, size + 60)
    path.write_bytes(bytes(data))
    refused(path)


def test_storages_that_overlap_are_refused(good: Path, tmp_path: Path) -> None:
    """Two entries of the directory with one place in the file."""
    path = rewritten(good, tmp_path / "net.pt", lambda entries: entries)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<L", data, len(data) - 6)
    offsets, at = {}, start
    while data[at : at + 4] == b"PK\x01\x02":
        n, e, c = struct.unpack_from("<3H", data, at + 28)
        offsets[bytes(data[at + 46 : at + 46 + n]).partition(b"/")[2]] = at
        at += 46 + n + e + c
    one, two = offsets[b"data/0"], offsets[b"data/1"]
    data[two + 42 : two + 46] = data[one + 42 : one + 46]
    path.write_bytes(bytes(data))
    refused(path)


def dict_with(attributes: bytes) -> bytes:
    """A pickle of an ordered dict that is given these attributes."""
    return opcodes(b"ccollections\nOrderedDict\n)R", attributes, b"b")


def name(text: str) -> bytes:
    return b"X" + struct.pack("<L", len(text)) + text.encode()


SHADOWS = ("items", "keys", "values", "get", "__iter__", "__class__", "__dict__", "__len__", "pop")


@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_dict_whose_methods_are_shadowed_is_refused(
    shadow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pickled = dict_with(b"}" + name(shadow) + b"K\x01s")
    path = torch_archive(tmp_path / "net.pt", pickled)
    refused(path, "hangs attributes on a dict")
    refused(path, "hangs attributes on a dict", read_state_dict)
    for arguments in (["inspect"], ["report"], ["explain"]):
        assert run([*arguments, str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("place", ["whole", "tensors", "in a list"])
def test_it_is_found_wherever_it_lies(place: str, good: Path, tmp_path: Path) -> None:
    shadowed: Any = OrderedDict(payload(good))
    if place == "tensors":
        shadowed = OrderedDict(payload(good)["tensors"])
    shadowed.get = 7  # `items` would stop the writing
    whole = {"whole": shadowed, "tensors": {**payload(good), "tensors": shadowed},
             "in a list": {**payload(good), "extra": [(shadowed,)]}}[place]  # fmt: skip
    torch.save(whole, tmp_path / "net.pt")
    refused(tmp_path / "net.pt", "hangs attributes on a dict")


def test_the_metadata_of_a_state_dict_is_no_shadow() -> None:
    state = torch.nn.Linear(2, 2).state_dict()
    assert "_metadata" in vars(state)
    check_containers({"state_dict": [state]})
    cycle: list[Any] = []
    cycle.append(cycle)
    check_containers(cycle)


def as_stored(tensor: torch.Tensor, offset: int, size: Any, stride: Any) -> bytes:
    """A torch file of one tensor whose place in its storage is said to be another."""

    class Odd:
        def __reduce__(self) -> Any:
            storage = tensor.untyped_storage()
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=tensor.dtype,
                                               _internal=True)  # fmt: skip
            hooks: Any = OrderedDict()
            return torch._utils._rebuild_tensor_v2, (typed, offset, size, stride, False, hooks)

    held = io.BytesIO()
    torch.save({"w": Odd()}, held)
    return held.getvalue()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)), (0, (2, 2), (3, 1)), (3, (2,), (1,)), (-1, (1,), (1,)),
        (0, (2,), (-1,)), (0, (1 << 62, 4), (0, 1)), (0, (2, 2), (1 << 62, 1)),
        (1 << 62, (1,), (1,)),
        (0, (-1,), (1,)), (0, (1 << 40,), (0,)), (0, (2,), (1, 1)),
    ],
)  # fmt: skip
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    offset: int, size: Any, stride: Any, tmp_path: Path
) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(as_stored(torch.ones(4), 0, (2, 2), (2, 1)))
    assert torch.equal(read_state_dict(path)["w"], torch.ones(2, 2))
    path.write_bytes(as_stored(torch.ones(4), offset, size, stride))
    refused(path, read=read_state_dict)


def test_steps_within_a_storage_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(as_stored(torch.arange(4.0), 0, (2, 2), (1, 1)))  # rows that overlap
    assert read_state_dict(path)["w"].tolist() == [[0, 1], [1, 2]]
    check_tensor(torch.arange(4.0).as_strided((3, 1), (1, 1 << 40)), "w")
    check_tensor(torch.ones(3, 0), "w")
    with pytest.raises(BadCheckpoint, match="more than the file holds"):
        check_tensor(torch.ones(2).expand(3, 2), "w")


def test_hooks_that_a_file_hangs_on_a_tensor_are_refused() -> None:
    tensor = torch.ones(2)
    tensor._backward_hooks = OrderedDict()
    check_tensor(tensor, "w")
    for hooks in (OrderedDict(a=1), [], 5):
        odd = torch.ones(2)
        odd._backward_hooks = hooks  # type: ignore[assignment]
        with pytest.raises(BadCheckpoint, match="unsupported kind"):
            check_tensor(odd, "w")


def test_nothing_of_it_runs_code(good: Path, tmp_path: Path) -> None:
    held = io.BytesIO()
    torch.save(Bomb(tmp_path / "ran"), held)
    with zipfile.ZipFile(held) as archive:
        bomb = archive.read("archive/data.pkl")

    def change(entries: Entries) -> Entries:
        return [(zipfile.ZipInfo(f"{root(entries)}/DATA.PKL"), bomb), *entries]

    refused(rewritten(good, tmp_path / "net.pt", change))
    assert os.listdir(tmp_path) == ["net.pt"]
