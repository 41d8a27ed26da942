"""The builder gives the shipped file again, byte for byte, from the npm package."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from igc.demo import build_people
from igc.errors import BadInput

SHIPPED = resources.files("igc.demo") / "data" / "people.npz"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm package: where IGC_EMOJI_PACKAGE says, else fetched by npm."""
    pytest.importorskip("PIL", reason="needs Pillow: pip install igc-compiler[demo-data]")
    if given := os.environ.get("IGC_EMOJI_PACKAGE"):
        return Path(given)
    if shutil.which("npm") is None:
        pytest.skip("no npm, and IGC_EMOJI_PACKAGE does not name the package")
    try:
        return build_people.download(tmp_path_factory.mktemp("npm"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm could not fetch {build_people.PACKAGE}: {error.stderr.strip()[:200]}")


@pytest.mark.slow
def test_rebuild_gives_the_shipped_arrays_and_the_same_bytes_twice(
    package: Path, tmp_path: Path
) -> None:
    arrays = build_people.build(package)
    with SHIPPED.open("rb") as file, np.load(file, allow_pickle=False) as shipped:
        assert sorted(shipped) == sorted(arrays)
        for name in shipped:
            assert arrays[name].dtype == shipped[name].dtype
            np.testing.assert_array_equal(arrays[name], shipped[name])
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    build_people.write(arrays, first)
    build_people.write(build_people.build(package), second)
    assert first.read_bytes() == second.read_bytes()


def test_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "img/google/sheets").mkdir(parents=True)
    (tmp_path / "package.json").write_text('{"name": "emoji-datasource", "version": "15.1.0"}')
    (tmp_path / "emoji.json").write_text("[]")
    (tmp_path / "img/google/sheets/32.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"holds emoji-datasource@15\.1\.0"):
        build_people.read_package(tmp_path)


def test_writing_does_not_depend_on_the_clock(tmp_path: Path) -> None:
    build_people.write({"a": np.arange(4)}, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["a"].tolist() == [0, 1, 2, 3]
    # Bytes 10-13 of a zip entry hold its time and date: 1980-01-01 00:00.
    assert (tmp_path / "a.npz").read_bytes()[10:14] == b"\x00\x00\x21\x00"
