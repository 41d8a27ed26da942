"""Atomic writes: all of the new file or all of the old one, and nothing left lying about."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from igc.errors import BadInput
from igc.files import atomic_write, check_writable, check_writable_folder, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_text_and_bytes(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", "größer\n")
    write_atomic(tmp_path / "b.bin", b"\x00\x01")
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\x01"
    assert names(tmp_path) == ["a.txt", "b.bin"]


def test_the_temporary_file_has_the_same_name_on_the_same_file_system(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "model.onnx") as temporary:
        assert temporary.name == "model.onnx"
        assert temporary.parent.parent == tmp_path
        assert temporary.parent.name.startswith(".")
        assert not (tmp_path / "model.onnx").exists()
        temporary.write_bytes(b"new")
    assert names(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_a_failure_keeps_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(target) as temporary:
            temporary.write_bytes(b"half of the n")
            raise failure

    with pytest.raises(failure):
        fail()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["model.onnx"]


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "new.onnx") as temporary:
        temporary.write_bytes(bytes(1 // 0))
    assert names(tmp_path) == []


def test_a_writer_that_writes_nothing_fails_cleanly(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), atomic_write(target):
        pass
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["model.onnx"]


def test_nested(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "m.onnx") as outer:
        write_atomic(outer, "content")
        assert os.listdir(outer.parent) == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "content"
    assert names(tmp_path) == ["m.onnx"]


def test_permissions(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "new") as temporary:
            temporary.touch(mode=0o600)  # as some writers do
        (tmp_path / "kept").write_text("x")
        (tmp_path / "kept").chmod(0o640)
        write_atomic(tmp_path / "kept", "y")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "m.onnx").write_text("old")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real" / "m.onnx")
    write_atomic(tmp_path / "link.onnx", "new")
    assert (tmp_path / "link.onnx").is_symlink()
    assert (tmp_path / "real" / "m.onnx").read_text() == "new"


@pytest.mark.parametrize("check", [check_writable, lambda path: write_atomic(path, "x")])
class TestRefusals:
    def test_missing_folder(self, tmp_path: Path, check) -> None:
        with pytest.raises(BadInput, match=r"no folder .*nowhere; make it first"):
            check(tmp_path / "nowhere" / "m.onnx")

    def test_folder_in_the_place_of_a_file(self, tmp_path: Path, check) -> None:
        with pytest.raises(BadInput, match="it is a folder"):
            check(tmp_path)

    def test_file_in_the_place_of_the_folder(self, tmp_path: Path, check) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(BadInput, match="not a directory"):
            check(tmp_path / "file" / "m.onnx")

    def test_device(self, tmp_path: Path, check) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(BadInput, match="not an ordinary file"):
            check(tmp_path / "pipe")
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    def test_no_permission(self, tmp_path: Path, check, monkeypatch) -> None:
        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "mkdir", refuse)  # root may write anywhere: chmod shows nothing
        with pytest.raises(BadInput, match="permission denied; choose another place"):
            check(tmp_path / "m.onnx")


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "m.onnx")
    check_writable_folder(tmp_path)
    check_writable_folder(tmp_path / "new")
    assert names(tmp_path) == []


def test_check_writable_folder_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="not a folder"):
        check_writable_folder(tmp_path / "file")
    with pytest.raises(BadInput, match="no folder"):
        check_writable_folder(tmp_path / "a" / "b")


def test_a_process_killed_midway_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from igc.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
