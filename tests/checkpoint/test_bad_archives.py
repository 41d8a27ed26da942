"""Damaged, foreign and hostile archives, and what is no file at all."""

import os
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_files import opcodes, refused
from checkpoint_nets import rezipped

import igc
from igc.checkpoint import load_program, read_state_dict
from igc.errors import BadInput


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


@pytest.mark.slow
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
