"""What the tests of faults share: a run that writes every kind of file, and how a folder looks."""

from __future__ import annotations

from pathlib import Path

OUTPUTS = ("m.onnx", "s.pt", "r.html", "src/net.py", "src/weights.safetensors")


def compile_arguments(checkpoint: Path, folder: Path, *more: str) -> tuple[object, ...]:
    """The arguments of an `igc compile` that writes every file it can, into `folder`."""
    return ("compile", checkpoint, "--out", folder / "m.onnx", "--torch-out", folder / "s.pt",
            "--source-out", folder / "src", "--report", folder / "r.html", *more)  # fmt: skip


def older_files(folder: Path) -> None:
    """Files of an earlier run under the names that are about to be written."""
    (folder / "src").mkdir()
    for name in OUTPUTS:
        (folder / name).write_bytes(b"old " + name.encode())


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below the folder with its content, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
