"""Writing files so that a failed or killed run never leaves half of one.

Everything igc writes goes to a temporary file beside the target first, is flushed to the disk
and then renamed over it. Until that instant an older file under the same name stays as it was.
Several files are renamed one after another, once all are written; where one cannot be, those before
it are taken back. Only a process that is killed outright (SIGKILL, a power cut) leaves some new and
some old, each of them whole, and its hidden `.igc-...` folders, which may be deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from igc.errors import BadInput, IgcError

DISK = frozenset({
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR,
    errno.ENAMETOOLONG, errno.ENOSPC, errno.ENOTDIR, errno.ENOTEMPTY, errno.EPERM, errno.EROFS,
})  # fmt: skip


@contextlib.contextmanager
def together() -> Iterator[Together]:
    """Collects files and folders to write, and puts all of them in place on success, or none.

    Each is written in a fresh hidden folder beside its target, under the target's own name: some
    writers go by the suffix, and some put the name into the file. When the block raises anything,
    KeyboardInterrupt and SystemExit included, or one of them cannot be put in place, all targets
    are as they were. An existing file hands its permissions on; a symbolic link stays a link, its
    target is replaced. What was asked for first is put in place last.

    Raises BadInput when a target cannot be written: no such folder, no permission, a folder or a
    device under that name, a read-only file, a full disk.
    """
    made = Together()
    try:
        with _telling_of_the_disk(made):
            yield made
        made.put()
    finally:
        made.clear()


class Together:
    """What `together` collects."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    @property
    def shown(self) -> str | os.PathLike[str]:
        """The target that was asked for last: what is being written."""
        return self._parts[-1].shown if self._parts else "the files"

    def file(self, path: str | os.PathLike[str]) -> Path:
        """Where to write what will be the file `path`."""
        return self._begin(path, _resolve(path)).temporary

    def folder(self, path: str | os.PathLike[str]) -> Path:
        """A fresh folder to fill; it will be `path`, which must not exist."""
        part = self._begin(path, Path(path))
        part.temporary.mkdir()
        return part.temporary

    def files_in(self, path: str | os.PathLike[str], names: Sequence[str]) -> list[Path]:
        """Where to write these files of the folder `path`, which is made where it is missing."""
        folder = Path(path)
        if folder.exists():
            return [self.file(folder / name) for name in names]
        fresh = self.folder(folder)
        return [fresh / name for name in names]

    def _begin(self, shown: str | os.PathLike[str], target: Path) -> _Part:
        part = _Part(shown, target, _folder_beside(target, shown))
        self._parts.append(part)
        return part

    def put(self) -> None:
        """Puts everything in place, or, where one of them fails, leaves all as it was."""
        for part in self._parts:
            with _telling_of_the_disk(part):
                part.finish(alone=len(self._parts) == 1)
        begun: list[_Part] = []
        try:
            for part in reversed(self._parts):
                begun.append(part)
                with _telling_of_the_disk(part):
                    part.put()
        except BaseException:
            for part in reversed(begun):
                part.take_back()
            raise

    def clear(self) -> None:
        """Removes whatever is temporary."""
        for part in self._parts:
            shutil.rmtree(part.beside, ignore_errors=True)


@dataclass(frozen=True)
class _Part:
    """One file or folder: its name as given, its place, and the hidden folder beside it."""

    shown: str | os.PathLike[str]
    target: Path
    beside: Path

    @property
    def temporary(self) -> Path:
        return self.beside / self.target.name

    @property
    def old(self) -> Path:
        return self.beside / ".old"

    def finish(self, *, alone: bool) -> None:
        """Brings it to the disk. Where others follow, an older file stays at hand, too."""
        if self.temporary.is_dir():
            return
        _flush_to_disk(self.temporary)
        exists = self.target.exists()
        os.chmod(self.temporary, _mode_of(self.target if exists else _new_file(self.beside)))
        if exists and not alone:
            try:
                os.link(self.target, self.old)
            except OSError:  # not every file system has links
                shutil.copy2(self.target, self.old)

    def put(self) -> None:
        if self.temporary.is_dir():
            os.rename(self.temporary, self.target)  # refuses a folder that holds anything
        else:
            os.replace(self.temporary, self.target)

    def take_back(self) -> None:
        """Undoes `put`, if that was done."""
        with contextlib.suppress(OSError):  # the others have to be taken back all the same
            if self.temporary.exists():
                return
            if self.old.exists():
                os.replace(self.old, self.target)
            elif self.target.is_dir():
                shutil.rmtree(self.target)
            else:
                self.target.unlink()


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields where to write a temporary file, and renames that to `path` on success.

    As `together`, for one file.
    """
    with together() as place:
        yield place.file(path)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a fresh folder to fill, and renames it to `path`, which must not exist, on success.

    As `together`, for one folder: what the block leaves in it appears under `path` all at once, or
    not at all where it raises.
    """
    with together() as place:
        yield place.folder(path)


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
def _telling_of_the_disk(written: Together | _Part) -> Iterator[None]:
    """Turns what the system says of the disk into one line of BadInput, whoever was writing."""
    try:
        yield
    except IgcError:
        raise
    except Exception as error:
        number = _system_error(error)
        if number not in DISK:
            raise
        raise BadInput(f"cannot write {written.shown}: {os.strerror(number).lower()}") from error


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
