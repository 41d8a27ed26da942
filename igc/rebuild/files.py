"""The two pairs of files that are compared: the one that was given, and the one compiled anew."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from igc.capture import Example
from igc.certificate import manifest_path
from igc.certificate.company import MAX_MANIFEST
from igc.certificate.manifest import hashes, seal
from igc.compiler import compilation
from igc.delivery import export_onnx
from igc.emit.compilation import Compilation
from igc.errors import BadInput, one_line
from igc.onnx_files.guard import require_ordinary
from igc.program import Program
from igc.rebuild.told import Told
from igc.verification.proof import Proof


@dataclass(frozen=True)
class Given:
    """A model as it lies there, looked through by nobody, and the bytes of its manifest."""

    name: str
    data: bytes
    model: onnx.ModelProto
    manifest: bytes | None


@dataclass(frozen=True)
class Made:
    """The model without the entry that names its manifest, and the content of that.

    None where igc writes no manifest. `checkpoints` are what it may say of the checkpoint: as
    `igc.deliver` has it (every tensor in it), and as `igc.export_onnx` has it (those that the
    network reads, of a file or of a module). `told` is what it was made by.
    """

    body: bytes
    manifest: dict[str, Any] | None
    checkpoints: tuple[dict[str, Any], ...]
    told: Told


def given(path: Path) -> Given:
    """The files as they are. Raises `BadInput` where `path` is no ONNX file."""
    require_ordinary(str(path))
    data, beside = path.read_bytes(), manifest_path(path)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises several kinds, all meaning the same
        reason = one_line(error)
        raise BadInput(f"{path}: no ONNX file, or a damaged one: {reason}") from error
    text = None
    if beside.is_file():
        if beside.stat().st_size > MAX_MANIFEST:
            raise BadInput(f"{beside}: larger than any manifest of igc's")
        text = beside.read_bytes()
    return Given(path.name, data, model, text)


def made(
    network: nn.Module, checkpoint: Path, inputs: Example | None, told: Told, name: str
) -> Made:
    """What igc writes for the network if compiled as told, under this name in a folder of its own.

    Raises as `igc.compile` and `igc.export_onnx` do.
    """
    source: nn.Module | Program = network
    known = getattr(network, "to_program", None)
    if known is not None and inputs is None and not told.from_file:
        whole: Program = known()
        kept = {k: v for k, v in whole.note.items() if k != "source_sha256"}
        source = replace(whole, note=kept)
    found = compilation(
        source, inputs, split_groups=told.split_groups, stop_after=told.stop_after,
        tasks=told.outputs or None,
    )  # fmt: skip
    if told.converted is not None:
        found.static.to(getattr(torch, told.converted))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        ways = _Ways(found)
        export_onnx(
            found.static,
            path,
            simplify=told.simplified,
            verification=ways if told.verified else None,
        )
        data, beside = path.read_bytes(), manifest_path(path)
        text = beside.read_bytes() if beside.is_file() else None
    if text is None:
        return Made(data, None, (), told)
    assert found.static.compiled_from is not None
    read = dict(found.static.compiled_from.hashes)
    held = hashes(checkpoint, network)
    as_delivered = _told_of(read | held)
    as_exported = _told_of(read | {"": held[""] if told.from_file else ""})
    of_a_module = isinstance(source, Program)  # of the one that was saved, not of the file
    content = json.loads(text)
    content["verification"] = ways.compared() if told.verified else None
    return Made(
        data[: -len(seal(text))],
        content,
        (as_exported,) if of_a_module else (as_delivered, as_exported),
        told,
    )


@dataclass
class _Ways:
    """What `igc.deliver` says of its proof: it writes nothing that did not pass in all ways."""

    made: Compilation
    found: dict[str, list[str]] | None = None

    def __call__(self, file: Path) -> Mapping[str, Any]:
        """The entry `igc.verification` of a model."""
        proof = Proof(self.made.gated, "")
        self.found = proof.planned({"static": self.made, "onnx": file})
        return {"passed": True, **self.found}

    def compared(self) -> dict[str, Any]:
        """The entry of its manifest."""
        outputs = list(self.made.static.outputs)
        return {name: dict.fromkeys(ways, outputs) for name, ways in (self.found or {}).items()}


def _told_of(hashes: Mapping[str, str]) -> dict[str, Any]:
    return {"sha256": hashes[""] or None, "tensors": {k: v for k, v in hashes.items() if k}}
