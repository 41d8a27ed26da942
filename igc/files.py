"""Writing files so that a failed or killed run never leaves half of one.

Everything igc writes goes to a temporary file beside the target first, is flushed to the disk
and then renamed over it. Until that instant an older file under the same name stays as it was.
Only a process that is killed outright (SIGKILL, a power cut) leaves its hidden `.igc-...` folder
behind; it may be deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from igc.errors import BadInput, IgcError

DISK = frozenset({
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG,
    errno.ENOSPC, errno.ENOTEMPTY, errno.EPERM, errno.EROFS,
})  # fmt: skip


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields where to write a temporary file, and renames that to `path` on success.

    The temporary file has the name of `path`, in a fresh hidden folder beside it: some writers go
    by the suffix, and some put the name into the file. When the block raises anything,
    KeyboardInterrupt and SystemExit included, the folder is removed and `path` is left untouched.
    An existing file hands its permissions on; a symbolic link stays a link, its target is replaced.

    Raises BadInput when `path` cannot be written: no such folder, no permission, a folder or a
    device under that name, a read-only file, a full disk.
    """
    target = _resolve(path)
    folder = _folder_beside(target, shown=path)
    try:
        temporary = folder / target.name
        with _telling_of_the_disk(path):
            yield temporary
            _flush_to_disk(temporary)
            os.chmod(temporary, _mode_of(target if target.exists() else _new_file(folder)))
            os.replace(temporary, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a fresh folder to fill, and renames it to `path`, which must not exist, on success.

    What the block leaves in it appears under `path` all at once, or not at all where it raises.
    Raises BadInput like `atomic_write`, and where something has taken the name meanwhile.
    """
    target = Path(path)
    folder = _folder_beside(target, shown=path)
    try:
        temporary = folder / target.name
        with _telling_of_the_disk(path):
            temporary.mkdir()
            yield temporary
            os.rename(temporary, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes `content` to `path` in one step; text as UTF-8. Raises BadInput like atomic_write."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises BadInput unless a file can be written at `path`; called before long work starts."""
    _folder_beside(_resolve(path), shown=path).rmdir()


def check_writable_folder(path: str | os.PathLike[str]) -> None:
    """Raises BadInput unless `path` is a writable folder, or a new one can be made there."""
    folder = Path(path)
    if folder.is_dir():
        check_writable(folder / "probe")
    elif folder.exists():
        raise BadInput(f"cannot write to {folder}: it is not a folder; choose another name")
    else:
        check_writable(folder)


@contextlib.contextmanager
def _telling_of_the_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the system says of the disk into one line of BadInput, whoever was writing."""
    try:
        yield
    except IgcError:
        raise
    except Exception as error:
        number = _system_error(error)
        if number not in DISK:
            raise
        raise BadInput(f"cannot write {path}: {os.strerror(number).lower()}") from error


def _system_error(error: BaseException | None) -> int:
    """The number of the system's error behind `error`, 0 where there is none.

    torch raises an error of its own while the system's is being handled, safetensors quotes it.
    """
    for _ in range(8):
        if error is None:
            return 0
        if isinstance(error, OSError) and error.errno:
            return error.errno
        quoted = re.search(r"\(os error (\d+)\)", str(error))
        if quoted:
            return int(quoted[1])
        error = error.__cause__ or error.__context__
    return 0


def _resolve(path: str | os.PathLike[str]) -> Path:
    """The file that would be written, links followed; refuses what a rename would destroy."""
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    if target.is_dir():
        raise BadInput(f"cannot write {path}: it is a folder; name a file in it")
    if target.exists() and not target.is_file():
        raise BadInput(f"cannot write {path}: it is not an ordinary file; choose another name")
    if target.exists() and not os.access(target, os.W_OK):  # a rename would pay no heed to it
        raise BadInput(f"cannot write {path}: it is read-only; choose another name")
    return target


def _folder_beside(target: Path, shown: str | os.PathLike[str]) -> Path:
    """Makes a hidden folder with a fresh name in target's folder, on the same file system."""
    try:
        return Path(tempfile.mkdtemp(prefix=".igc-", dir=target.parent))
    except FileNotFoundError:
        raise BadInput(
            f"cannot write {shown}: there is no folder {target.parent}; make it first"
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"cannot write {shown}: {reason}; choose another place") from None


def _new_file(folder: Path) -> Path:
    """An empty file with the permissions that new files get here (some writers give fewer)."""
    probe = folder / ".new"
    os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o666))
    return probe


def _mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _flush_to_disk(path: Path) -> None:
    """Waits until the content of `path` is on the disk, so that the rename cannot outrun it."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())
