"""A disk that is full or read-only, and a file that may not be changed."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from fault_runs import compile_arguments, listing, older_files
from forked import forked

from igc.errors import BadInput
from igc.files import atomic_folder, atomic_write, write_atomic


def small_files(most: int) -> None:
    """No file of this process may grow beyond so many bytes: what a full disk looks like."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@pytest.mark.parametrize("most", [0, 1000, 2500, 6200])
def test_a_full_disk_leaves_everything_as_it_was(
    most: int, checkpoint: Path, tmp_path: Path
) -> None:
    """Full at once, and in the middle of one file or another."""
    older_files(tmp_path)
    before = listing(tmp_path)
    done = forked(*compile_arguments(checkpoint, tmp_path), before=lambda: small_files(most))
    assert done.code == 2, done.output
    assert done.output.count("\n") == 1
    assert done.output.startswith("igc: cannot write ") and "file too large" in done.output
    assert listing(tmp_path) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("wrapped", ["bare", "while handling", "quoted"])
def test_what_writers_say_of_the_disk_becomes_one_line(
    number: int, wrapped: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("old")

    def fail() -> None:
        with atomic_write(tmp_path / "f") as temporary:
            temporary.write_text("half")
            if wrapped == "quoted":
                raise RuntimeError(f"I/O error: something (os error {number})")
            try:
                raise OSError(number, os.strerror(number))
            except OSError:
                if wrapped == "while handling":
                    raise RuntimeError("unexpected pos") from None
                raise

    with pytest.raises(BadInput, match=f"cannot write .*f: {os.strerror(number).lower()}"):
        fail()
    assert listing(tmp_path) == {"f": b"old"}


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "f"):
        raise ZeroDivisionError
    assert listing(tmp_path) == {}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(fail: bool, taken: bool = False) -> None:
        with atomic_folder(tmp_path / "new") as folder:
            (folder / "a").write_text("a")
            assert not (tmp_path / "new").exists() or taken
            if fail:
                raise KeyboardInterrupt
            (folder / "b").write_text("b")

    with pytest.raises(KeyboardInterrupt):
        fill(fail=True)
    assert listing(tmp_path) == {}
    fill(fail=False)
    assert listing(tmp_path) == {"new/a": b"a", "new/b": b"b"}
    with pytest.raises(BadInput, match="cannot write"):
        fill(fail=False, taken=True)
    assert listing(tmp_path) == {"new/a": b"a", "new/b": b"b"}


def test_read_only_files_and_folders_are_left_alone(tmp_path: Path) -> None:
    """In a process without the rights of root, who may write anywhere."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "f").write_text("old")
    (tmp_path / "shut").mkdir()
    (tmp_path / "open" / "f").chmod(0o444)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "shut").chmod(0o555)
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from igc.errors import BadInput
from igc.files import check_writable, write_atomic
if os.geteuid() == 0:
    os.setuid(65534)
for name in ("open/f", "shut/f"):
    for write in (check_writable, lambda path: write_atomic(path, "new")):
        try:
            write({str(tmp_path)!r} + "/" + name)
        except BadInput as error:
            print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    said = done.stdout.splitlines()
    assert len(said) == 4, done.stdout + done.stderr
    assert all("it is read-only; choose another name" in line for line in said[:2])
    assert all("permission denied" in line for line in said[2:])
    assert listing(tmp_path) == {"open/f": b"old"}


def test_writing_over_a_link_to_a_read_only_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(BadInput, match="read-only"):
        write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "f").read_text() == "old"
