"""Writing a checkpoint: one torch archive that holds a JSON text and tensors."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from igc.capture import Example, capture
from igc.checkpoint.data import from_data, to_data
from igc.checkpoint.gated_graph import BUFFER, FROZEN, PARAMETER, GatedGraph
from igc.checkpoint.reading import FORMAT, VERSION, read_header
from igc.emit.torch.plan import is_trainable
from igc.errors import BadCheckpoint, BadInput
from igc.files import atomic_write
from igc.program import Program
from igc.program.digest import storage_key
from igc.program.health import check_gates

Kind = Literal["gated", "static"]


def save(
    net: nn.Module, path: str | os.PathLike[str], example_inputs: Example | None = None
) -> None:
    """Writes `net` to `path`: its graph and tensors, self-contained, with no code in it.

    `net` is any network that `igc.compile` takes, a loaded checkpoint or a `StaticNetwork`. The
    graph is captured in evaluation mode on `example_inputs` (one tensor or a tuple), which loaded
    and static networks do not need. `net` itself is left as it was. The same network gives the
    same bytes. Raises `BadInput` for a network that cannot be captured or stored and for a path
    that cannot be written; the file then stays as it was.
    """
    describe = getattr(net, "to_program", None)
    if describe is not None:
        program: Program = describe()
        kind: Kind = "gated" if isinstance(net, GatedGraph) else "static"
    else:
        known = getattr(net, "example_inputs", None) if example_inputs is None else example_inputs
        if known is None:
            raise BadInput(
                f"save: {type(net).__name__} needs example_inputs; give a tuple of tensors of "
                "the shapes the network takes"
            )
        program, kind = capture(net, known), "gated"
    if kind == "static":  # its layers are made anew from the program
        loose = [n for n, t in program.constants.items() if not is_trainable(program, n, t)]
        _write(program, path, kind, {}, dict.fromkeys(loose, BUFFER))
    else:
        _write(program, path, kind, _tensors_of(net), _state_of(net))


def save_program(program: Program, path: str | os.PathLike[str], kind: Kind) -> None:
    """Writes a program without a module around it; see `save`.

    Floating constants are loaded as parameters, others and batch norm statistics as buffers.
    """
    state = {
        name: PARAMETER if tensor.dtype.is_floating_point and not _is_statistic(name) else BUFFER
        for name, tensor in program.constants.items()
    }
    _write(program, path, kind, {}, state)


def _is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in ("running_mean", "running_var")


def _tensors_of(net: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in net.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}


def _state_of(net: nn.Module) -> dict[str, str]:
    parameters = dict(net.named_parameters(remove_duplicate=False))
    return {
        name: BUFFER
        if name not in parameters
        else PARAMETER
        if parameters[name].requires_grad
        else FROZEN
        for name in _tensors_of(net)
    }


def _write(
    program: Program,
    path: str | os.PathLike[str],
    kind: Kind,
    extra: Mapping[str, Tensor],
    state: Mapping[str, str],
) -> None:
    noted = replace(program, note=_provenance(program.note, kind))
    header = {"program": to_data(noted), "state": dict(state)}
    tensors = _storable({**extra, **program.constants})
    try:
        payload = {
            "format": FORMAT,
            "version": VERSION,
            "kind": kind,
            "program": json.dumps(header, allow_nan=False, separators=(",", ":")),
            "tensors": tensors,
        }
        # What is written can be read: the reader's own checks run first.
        again, _ = read_header(payload)
        check_gates(from_data(again, tensors))
    except BadCheckpoint as error:
        raise BadInput(f"save: the network cannot be stored: {error}") from None
    with atomic_write(path) as temporary, temporary.open("wb") as file, _with_checksums():
        torch.save(payload, file)


def _provenance(note: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """The note as it is stored: a file's own hash cannot stand in it, that of its source can."""
    kept = {k: v for k, v in note.items() if k not in ("kind", "source_sha256", "buffers")}
    if kind == "static" and note.get("kind") == "gated":
        kept["compiled_from"] = note["source_sha256"]
    return kept


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as plain ones on the CPU, dense in a storage of their own, tied ones as one.

    Names are interned: pickle writes an object it has seen as a reference, so equal names would
    otherwise give different bytes from one run to the next.
    """
    made: dict[tuple[Any, ...], Tensor] = {}
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach()
        if type(plain) is not Tensor or plain.layout is not torch.strided or plain.is_meta:
            raise BadInput(f"save: '{name}' is no ordinary tensor with values; it cannot be stored")
        key = (*storage_key(plain, name), plain.device, plain.is_conj(), plain.is_neg())
        if key not in made:
            made[key] = _dense(plain)
        result[sys.intern(name)] = made[key]
    return result


def _dense(tensor: Tensor) -> Tensor:
    plain = tensor.cpu().resolve_conj().resolve_neg()
    own = plain.numel() * plain.element_size() == plain.untyped_storage().nbytes()
    return plain if own and torch.ops.aten.is_non_overlapping_and_dense(plain) else plain.clone()


@contextmanager
def _with_checksums() -> Iterator[None]:
    """Loading compares the checksums, so they have to be right whatever the user's setting."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(True)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)
