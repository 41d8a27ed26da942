"""The certificate as data: the manifest beside a model, how it is tied to it, how numbers are told.

The manifest is JSON. It holds the SHA-256 of the model, and the model ends with a metadata entry
that holds the SHA-256 of the manifest; the first is taken without that entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from igc.certificate import manifest_path
from igc.certificate.company import MAX_MANIFEST, strangers, unlike
from igc.errors import BadInput
from igc.onnx_files.guard import read_onnx
from igc.onnx_files.types import TYPES
from igc.program.digest import digest as digest
from igc.program.digest import file_sha256

FORMAT, VERSION = "igc manifest", 1
KEY = "igc.manifest_sha256"


@dataclass(frozen=True)
class Certified:
    """A model and its manifest as read; `problems` tells which hashes of them disagree."""

    model: onnx.ModelProto
    manifest: Mapping[str, Any]
    problems: tuple[str, ...]


def seal(manifest: bytes) -> bytes:
    """What is appended to a model so that its metadata names the manifest.

    Protobuf joins messages that are written one behind the other.
    """
    entry = onnx.StringStringEntryProto(key=KEY, value=hashlib.sha256(manifest).hexdigest())
    return bytes(onnx.ModelProto(metadata_props=[entry]).SerializeToString(deterministic=True))


def written(content: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest, the same for the same content."""
    return (json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n").encode()


def read(path: Path) -> Certified:
    """The model at `path` and its manifest. Raises `BadInput` where either cannot be read."""
    beside = manifest_path(path)
    for file in (path, beside):
        if not file.is_file():
            raise BadInput(f"{file}: no such file; igc compile writes model and manifest together")
    if beside.stat().st_size > MAX_MANIFEST:
        raise BadInput(f"{beside}: larger than any manifest of igc's")
    text = beside.read_bytes()
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{beside}: no proper JSON: {str(error)[:80]}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadInput(f"{beside}: no manifest of igc's")
    if manifest.get("version") != VERSION:
        raise BadInput(f"{beside}: another version of the format; use the igc that wrote it")
    of_model = manifest.get("model")
    if not isinstance(of_model, dict):
        raise BadInput(f"{beside}: it tells nothing of the model")
    model = read_onnx(str(path))
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise BadInput(f"{path}: keeps tensors in other files, which igc does not write")
    data, problems, end = memoryview(path.read_bytes()), [], seal(text)
    if data[-len(end) :] != end:
        problems.append(f"hash: {path.name} does not name this {beside.name}; one was changed")
    if sha256(data[: -len(end)]) != of_model.get("sha256"):
        problems.append(f"hash: {path.name} is not the model that {beside.name} certifies")
    if not problems:  # else it is not known whose files it speaks of
        problems += strangers(path, manifest)
    return Certified(model, manifest, (*problems, *_metadata(model, manifest)))


def not_of_its_run(path: Path) -> list[str]:
    """Which files beside the model at `path` are of another run; nothing without a manifest."""
    return unlike(path, seal)


def _metadata(model: onnx.ModelProto, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What the model's metadata says of outputs and checkpoint, where that is not so."""
    told = {p.key: p.value for p in model.metadata_props}
    outputs = json.dumps([o.name for o in model.graph.output], separators=(",", ":"))
    if told.get("igc.outputs") != outputs:
        yield "metadata 'igc.outputs': not the outputs of the model"
    checkpoint = manifest.get("checkpoint")
    file = checkpoint.get("sha256") if isinstance(checkpoint, dict) else None
    if file is not None and told.get("igc.source_sha256", file) != file:
        yield "metadata 'igc.source_sha256': not the checkpoint that the manifest names"


def hashes(path: Path, network: nn.Module) -> dict[str, str]:
    """The SHA-256 of a checkpoint file under "", and the `digest` of each tensor it holds."""
    state = {k: v for k, v in network.state_dict().items() if isinstance(v, Tensor)}
    return {"": file_sha256(path), **{name: digest(value) for name, value in state.items()}}


def sha256(data: bytes | memoryview) -> str:
    """The SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def wiring(graph: onnx.GraphProto) -> list[str]:
    """A hash for the interface of a graph and one for each node, in order."""
    interface = onnx.GraphProto(input=graph.input, output=graph.output)
    parts = [interface, *graph.node]
    return [sha256(p.SerializeToString(deterministic=True))[:16] for p in parts]


def tensor_of(proto: onnx.TensorProto) -> Tensor:
    """An initialiser as a tensor."""
    dtype = TYPES.get(proto.data_type)
    shape, raw = tuple(proto.dims), bytearray(proto.raw_data)
    if dtype is None or not proto.raw_data:
        return torch.from_numpy(onnx.numpy_helper.to_array(proto).copy())
    return torch.frombuffer(raw, dtype=dtype).reshape(shape)


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order, runs in short: 0 1 2 7 5 is "0-2,7,5"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def numbers(text: str, most: int) -> list[int]:
    """The numbers that `ranges` told. Raises `ValueError` for anything else or for too many."""
    found: list[int] = []
    for start, stop in spans(text):
        if stop - start > most - len(found):
            raise ValueError(f"more than {most} numbers: {text[:40]}")
        found.extend(range(start, stop))
    return found


def spans(text: str) -> Iterator[tuple[int, int]]:
    """The runs of `ranges`, first number and the one behind the last. Raises `ValueError`."""
    for run in text.split(",") if text else ():
        first, _, last = run.partition("-")
        start, stop = int(first), int(last or first) + 1
        if not 0 <= start < stop:
            raise ValueError(f"a bad range: {run[:40]}")
        yield start, stop


def require_bounded(certified: Certified, constants: Iterable[Tensor]) -> int:
    """How many numbers the largest tensor of the model and of these constants holds.

    Raises `BadInput` where a list of the manifest's index holds more.
    """
    sizes = [prod(t.dims) for t in certified.model.graph.initializer]
    most = max([*sizes, *(t.numel() for t in constants)], default=0)
    for at, text in enumerate(certified.manifest["index"]):
        held = sum(stop - start for start, stop in spans(text))
        if held > most:
            raise BadInput(
                f"the manifest: list {at} of its index holds {held} numbers, the largest tensor "
                f"{most}"
            )
    return most


def literal(stated: Any, value: Tensor, index: Sequence[str]) -> Tensor:
    """The numbers stated for a tensor like `value`: a place in `index`, or the numbers."""
    if isinstance(stated, int):
        listed = numbers(index[stated], value.numel())
        return torch.tensor(listed, dtype=value.dtype).reshape(value.shape)
    plain = [float(n) if isinstance(n, str) else n for n in stated]
    made = torch.tensor(plain, dtype=value.dtype)
    return made[0].expand(value.shape) if len(plain) == 1 else made.reshape(value.shape)
