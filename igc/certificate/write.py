"""The manifest of an ONNX file: for every tensor in it, how it is made of the checkpoint's tensors.

The tensors of the file are recognised by their bytes, as stored or transposed, among the constants
of the compiled program, whose recipes the passes wrote down. Two constants with the same bytes are
stored once, and both recipes are listed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor

from igc.certificate.manifest import (
    FORMAT,
    VERSION,
    digest,
    ranges,
    seal,
    sha256,
    tensor_of,
    wiring,
    written,
)
from igc.certificate.tools import installed
from igc.emit.torch.static import StaticNetwork, runnable
from igc.program import Program
from igc.program.recipe import Recipe, Stored, Transposed

MOST_NUMBERS = 1 << 16  # floating ones that a tensor of the graph's own, such as a scalar, may hold


def certify(
    static: StaticNetwork,
    model: str | os.PathLike[str],
    manifest: str | os.PathLike[str],
    hashes: Mapping[str, str],
    verification: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> None:
    """Writes the manifest of the ONNX file `model`, and its hash into the file's metadata.

    `model` must be what `export_onnx` has just written for `static`; both paths are written in
    place, so they should be temporary ones. `hashes` holds the SHA-256 of the checkpoint under "",
    empty where there is no file, and the `digest` of each of its tensors; `files` those of the
    other files of the run (`igc.certificate.company`). The same network gives the same bytes.
    """
    path = Path(model)
    data = path.read_bytes()
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "tools": installed(),
        "checkpoint": {
            "sha256": hashes[""] or None,
            "tensors": {k: v for k, v in hashes.items() if k},
        },
        "model": {"sha256": sha256(data)},
        "verification": verification,
        "files": dict(files or {}),
    }
    parsed = onnx.load_model_from_string(data)
    del data
    content["model"]["wiring"] = wiring(parsed.graph)
    table = _Table()
    content["tensors"] = _tensors(parsed, runnable(static).to_program(), table)
    content["index"] = list(table.places)
    text = written(content)
    Path(manifest).write_bytes(text)
    with path.open("ab") as file:
        file.write(seal(text))


class _Table:
    """Lists of channel numbers, each once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __call__(self, numbers: Any) -> int:
        return self.places.setdefault(ranges(numbers), len(self.places))


def _tensors(model: onnx.ModelProto, program: Program, table: _Table) -> dict[str, Any]:
    made: dict[tuple[Any, ...], list[Recipe]] = {}
    for name, value in program.constants.items():
        origin = program.origins.get(name)
        recipe = Stored(name) if origin is None else origin.recipe
        if recipe is not None:
            made.setdefault(_key(value), []).append(recipe)
    found = {}
    for proto in model.graph.initializer:
        value = tensor_of(proto)
        sources = made.get(_key(value), [])
        if value.ndim == 2:
            turned = made.get(_key(value.t()), []) if value.shape[0] != 1 != value.shape[1] else []
            sources = sources + [Transposed(r) for r in turned]
        entry: dict[str, Any] = {"sha256": digest(value)}
        if sources:
            entry["from"] = [recipe.to_data(table) for recipe in sources]
        elif value.dtype.is_floating_point and value.numel() > MOST_NUMBERS:
            entry["from"] = []  # an auditor has to refuse it
        else:
            entry["numbers"] = _numbers(value, table)
        found[proto.name] = entry
    return found


def _key(value: Tensor) -> tuple[Any, ...]:
    """What is equal for equal bytes, whatever the shape: a vector may be stored as a column."""
    return value.dtype, digest(value.reshape(-1))


def _numbers(value: Tensor, table: _Table) -> Any:
    """The values: the place of a list of indices, or the plain numbers, one where all are equal."""
    flat = value.reshape(-1)
    if not value.dtype.is_floating_point and len(flat) > 1 and bool((flat >= 0).all()):
        return table(flat.long().tolist())
    if len(flat) and bool((flat == flat[0]).all()):
        flat = flat[:1]
    plain = flat.tolist()
    return [n if abs(n) < float("inf") else str(n) for n in plain]
