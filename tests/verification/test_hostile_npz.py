"""Input files for `igc verify --inputs` that nobody vouches for."""

from __future__ import annotations

import io
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import igc
from igc.errors import BadInput
from igc.verification import npz


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> object:
        import os

        return os.system, (f"touch {self.proof}",)


def header(shape: str, kind: str = "<f4") -> bytes:
    """The start of an .npy file that claims this shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive(path: Path, content: bytes, packed: bool = False, name: str = "x.npy") -> None:
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as made:
        made.writestr(name, content)


def pickled(path: Path) -> None:
    np.savez(path, x=np.array([Bomb(path.with_name("ran"))], dtype=object))


def listed_again(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for i in range(2000):
            made.writestr(f"x{i}.npy", header("(1,)") + bytes(4))


def lying_size(path: Path) -> None:
    """An entry that claims less than it unpacks to."""
    archive(path, header("(64, 4)") + bytes(1024), packed=True)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (200).to_bytes(4, "little")
    path.write_bytes(data)


CASES: dict[str, Callable[[Path], object]] = {
    "a pickle": pickled,
    "terabytes": lambda p: archive(p, header("(1099511627776, 4)")),
    "terabytes, packed": lambda p: archive(p, header("(1099511627776, 4)"), packed=True),
    "overflowing": lambda p: archive(p, header("(4611686018427387904, 4611686018427387904)")),
    "negative": lambda p: archive(p, header("(-1, 4)")),
    "objects": lambda p: archive(p, header("(1,)", "|O") + bytes(8)),
    "code for a header": lambda p: archive(p, header("__import__('os').getpid()")),
    "no header": lambda p: archive(p, b"hello"),
    "another version": lambda p: archive(p, b"\x93NUMPY\x09\x00" + bytes(80)),
    "many arrays": listed_again,
    "a lying size": lying_size,
    "no arrays": lambda p: archive(p, b"", name="x.txt"),
    "a pickle alone": lambda p: p.write_bytes(b"\x80\x04."),
    "nothing": lambda p: p.write_bytes(b""),
    "cut off": lambda p: archive(p, header("(2, 4)") + bytes(7)),
}


@pytest.mark.parametrize("case", CASES)
def test_hostile_inputs_are_refused(
    case: str, checkpoint: Path, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "data.npz"
    CASES[case](path)
    peak, start = peak_mib(), time.process_time()
    with pytest.raises(BadInput, match=r"data\.npz|the network takes") as caught:
        igc.verify(checkpoint, model, path)
    assert str(caught.value).isprintable()
    assert time.process_time() - start < 5
    assert peak_mib() - peak < 300
    assert not (tmp_path / "ran").exists()


def test_a_zip_bomb_is_not_unpacked(
    checkpoint: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred MiB of zeros in a tenth of one, under a limit of 64 MiB in place of 4 GiB."""
    archive(tmp_path / "data.npz", header("(26214400,)") + bytes(100 << 20), packed=True)
    assert (tmp_path / "data.npz").stat().st_size < 1 << 20
    monkeypatch.setattr(npz, "MAX_BYTES", 64 << 20)
    peak = peak_mib()
    with pytest.raises(BadInput, match="unpacks to"):
        igc.verify(checkpoint, model, tmp_path / "data.npz")
    assert peak_mib() - peak < 50


def test_good_inputs_pass(checkpoint: Path, model: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "data.npz", x=values)
        assert igc.verify(checkpoint, model, tmp_path / "data.npz")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version=(2, 0))
    archive(tmp_path / "data.npz", stream.getvalue())
    assert igc.verify(checkpoint, model, tmp_path / "data.npz")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
