"""Builds the demo's data: people emoji, three labels each, from a public npm package.

    python -m igc.demo.build_people --out people.npz [--package emoji-datasource-16.0.0.tgz]

Reads `emoji.json` and the 32-pixel Google (Noto) sheet of `emoji-datasource` 16.0.0 and nothing
else: the Apple and Facebook sheets of the same package are not free to use. Without `--package`
the npm client downloads the package (25 MB). Needs Pillow (`pip install igc-compiler[demo-data]`)
to read the sheet; the demo itself does not.

The same package gives the same bytes on every run: sorted order, integer compositing, fixed
timestamps in the archive (up to the zlib build, which may compress differently).
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from igc.demo.people_labels import GENDERS, KIND_OF, KINDS, TONES, concept_key, gender_of, held_out
from igc.errors import BadInput

PACKAGE = "emoji-datasource@16.0.0"
SIDE, PITCH = 32, 34  # pixels: a picture, and the distance between two pictures in the sheet
BACKGROUND = 128  # mid-grey: both white aprons and black suits stay visible on it


def read_package(package: Path) -> tuple[list[dict[str, Any]], bytes]:
    """Returns the entries of `emoji.json` and the bytes of the Noto sheet.

    `package` is the `.tgz` that `npm pack` wrote, or the folder it unpacks to.
    """
    names = ("package.json", "emoji.json", "img/google/sheets/32.png")
    if package.is_dir():
        contents = [(package / name).read_bytes() for name in names]
    else:
        with tarfile.open(package) as tar:
            members = [tar.extractfile(f"package/{name}") for name in names]
            contents = [member.read() for member in members if member is not None]
    about, meta, sheet = contents
    found = "{name}@{version}".format(**json.loads(about))
    if found != PACKAGE:
        raise BadInput(f"{package} holds {found}: the demo's data is built from {PACKAGE}")
    return json.loads(meta), sheet


def download(folder: Path) -> Path:
    """Fetches the package with the npm client into `folder`; returns the path of the `.tgz`."""
    run = subprocess.run(  # noqa: S603 - a fixed command
        ["npm", "pack", PACKAGE, "--silent"],  # noqa: S607 - the npm on the caller's PATH
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return folder / run.stdout.strip().splitlines()[-1]


def decode(sheet: bytes) -> npt.NDArray[np.uint8]:
    """Returns the sheet as RGB uint8 (height, width, 3), composited on the background."""
    from PIL import Image

    rgba = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGBA")).astype(np.uint32)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)


def build(package: Path) -> dict[str, npt.NDArray[Any]]:
    """Returns the arrays of the data set, one row per picture, sorted by code point sequence.

    `pictures` uint8 (N, 32, 32, 3); `gender`, `tone`, `kind` uint8 (N,); `concept` uint8 (N,), an
    index into `concept_names`; `held_out` bool (N,), constant within a concept; `codes` and
    `names` (N,) strings: the Unicode sequence and the short name.
    """
    entries, png = read_package(package)
    sheet = decode(png)
    rows = []
    first_name: dict[str, tuple[str, str]] = {}
    for entry in entries:
        kind = KIND_OF.get(entry["subcategory"])
        # "Facing right" sequences repeat a picture in a mirror.
        if entry["category"] != "People & Body" or kind is None or "-27A1" in entry["unified"]:
            continue
        key = concept_key(entry["unified"])
        name = str(entry["short_name"])
        neutral = gender_of(entry["unified"]) == "unspecified"
        rank = ("0" if neutral else "1") + entry["unified"]
        first_name[key] = min(first_name.get(key, (rank, name)), (rank, name))
        for tone, variant in [("", entry), *entry.get("skin_variations", {}).items()]:
            if variant["has_img_google"]:
                rows.append((variant["unified"], name, kind, TONES.index(tone), key, variant))
    rows.sort(key=lambda row: row[0])

    keys = sorted({row[4] for row in rows})
    kind_of_concept = {row[4]: row[2] for row in rows}
    out_keys = held_out(kind_of_concept)
    pictures = np.stack([_cut(sheet, row[5]["sheet_x"], row[5]["sheet_y"]) for row in rows])
    return {
        "pictures": pictures,
        "gender": np.array([GENDERS.index(gender_of(row[0])) for row in rows], np.uint8),
        "tone": np.array([row[3] for row in rows], np.uint8),
        "kind": np.array([KINDS.index(row[2]) for row in rows], np.uint8),
        "concept": np.array([keys.index(row[4]) for row in rows], np.uint8),
        "held_out": np.array([row[4] in out_keys for row in rows]),
        "codes": np.array([row[0] for row in rows]),
        "names": np.array([row[1] for row in rows]),
        "concept_names": np.array([first_name[key][1] for key in keys]),
    }


def _cut(sheet: npt.NDArray[np.uint8], x: int, y: int) -> npt.NDArray[np.uint8]:
    top, left = y * PITCH + 1, x * PITCH + 1
    return sheet[top : top + SIDE, left : left + SIDE]


def write(arrays: dict[str, npt.NDArray[Any]], out: Path) -> None:
    """Writes `arrays` as a compressed `.npz` without timestamps, so that bytes can be compared."""
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue(), compresslevel=9)


def main() -> None:
    """Parses the command line, builds the data set and writes it."""
    parser = argparse.ArgumentParser(prog="python -m igc.demo.build_people")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument(
        "--package", type=Path, help=f"{PACKAGE} as .tgz or unpacked folder; default: npm pack"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(build(options.package or download(Path(folder))), options.out)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
