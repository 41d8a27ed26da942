"""Mutated files by the thousand: `make fuzz` tries 2000 of each kind, ten thousand in all.

Whatever the mutation, a file is refused in one line, or loads as a network; nothing else happens.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import igc
from igc.checkpoint import load_into, load_program, read_state_dict
from igc.errors import BadInput
from igc.ops.allowed import allowed

SLOW = 10.0  # seconds of processor time
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=8),
    st.sampled_from([{"node": "x"}, {"float": "nan"}, {"tuple": [1]}, {"dtype": "int8"}, [], {}]),
    st.lists(st.integers(-2, 1 << 40), max_size=4),
)  # fmt: skip
EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255), st.integers(0, 3)),
                 min_size=1, max_size=4)  # fmt: skip
quick = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


def edited(data: bytes, edits: list[tuple[int, int, int]]) -> bytes:
    """The data with bits flipped, bytes replaced, pieces left out, or cut off."""
    found = bytearray(data)
    for at, byte, kind in edits:
        place = at % max(len(found), 1)
        if not found:
            break
        if kind == 0:
            found[place] ^= 1 << byte % 8
        elif kind == 1:
            found[place] = byte
        elif kind == 2:
            del found[place : place + 1 + byte % 16]
        else:
            del found[len(found) - place // 8 :]
    return bytes(found)


def outcome(read: Callable[[], Any]) -> str:
    """ "loads", or the line that says why not; a test fails on any other exception."""
    start = time.process_time()
    try:
        read()
        said = "loads"
    except BadInput as error:
        said = str(error)
    assert said.isprintable() and len(said) < 1000
    assert time.process_time() - start < SLOW
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


@quick
@given(edits=EDITS)
def test_bytes_of_a_checkpoint(edits: Any, checkpoint: Path, folder: Path) -> None:
    path = folder / "bytes.pt"
    path.write_bytes(edited(checkpoint.read_bytes(), edits))
    outcome(lambda: load_program(path))
    outcome(lambda: read_state_dict(path))


@quick
@given(edits=EDITS)
def test_the_index_under_right_checksums(edits: Any, checkpoint: Path, folder: Path) -> None:
    path = folder / "index.pt"
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = edited(content, edits)
            new.writestr(entry.filename, content)
    outcome(lambda: load_program(path))


@quick
@given(edits=EDITS)
def test_the_index_of_weights_beside_objects(edits: Any, folder: Path) -> None:
    """Read by igc itself, as torch takes no such file."""
    buffer, path = io.BytesIO(), folder / "objects.pt"
    args = argparse.Namespace(when=datetime.date(2024, 1, 2), sizes=[(1, 2), {"a": b"x"}])
    torch.save({"args": args, "model": nn.Linear(2, 3).state_dict()}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = edited(content, edits)
            new.writestr(entry.filename, content)
    outcome(lambda: load_into(nn.Linear(2, 3), path))


@quick
@given(edits=EDITS)
def test_bytes_of_an_onnx_file(edits: Any, model: Path, folder: Path) -> None:
    path = folder / "bytes.onnx"
    path.write_bytes(edited(model.read_bytes(), edits))
    outcome(lambda: igc.report(path).to_html())


@quick
@given(steps=st.lists(st.integers(0, 1 << 20), min_size=2, max_size=8), value=ODD)
def test_values_of_the_program(steps: Any, value: Any, checkpoint: Path, folder: Path) -> None:
    """One value somewhere in the graph replaced by an odd one; what loads is compiled."""

    def change(program: Any) -> None:
        spot: Any = program
        for step in steps:
            keys = list(spot) if isinstance(spot, dict) else range(len(spot))
            key = keys[step % len(keys)]
            if not isinstance(spot[key], (dict, list)) or not spot[key]:
                break
            above, spot = spot, spot[key]
            key = None
        if key is None:
            above[next(k for k in (above if isinstance(above, dict) else range(len(above)))
                       if above[k] is spot)] = value  # fmt: skip
        else:
            spot[key] = value

    tried(change, checkpoint, folder / "values.pt")


@quick
@given(data=st.data())
def test_calls_of_every_operation(data: st.DataObject, checkpoint: Path, folder: Path) -> None:
    """A call of any allowed operation with any arguments before the output."""

    def change(program: Any) -> None:
        names = [n["name"] for n in program["nodes"][:-1]]
        some = st.sampled_from([{"node": n} for n in names])
        target = data.draw(st.sampled_from(sorted(allowed())))
        schema = getattr(allowed()[target], "_schema", None)
        kinds = (
            [str(a.type) for a in schema.arguments if not a.kwarg_only]
            if schema
            else ["Tensor"] * 2
        )
        small = st.sampled_from([0, 1, 2, -1, 3, 1 << 33])
        args = []
        for kind in kinds[: data.draw(st.integers(1, max(len(kinds), 1)))]:
            if "Tensor" in kind:
                args.append(data.draw(st.lists(some, max_size=3) if "List" in kind else some))
            else:
                args.append(data.draw(st.one_of(small, st.lists(small, max_size=3), ODD)))
        call = {"name": "extra", "op": "call_function", "target": target, "args": args}
        program["nodes"].insert(-1, call)
        program["nodes"][-1]["args"] = [{"node": "extra"}]

    tried(change, checkpoint, folder / "calls.pt")


def tried(change: Callable[[Any], None], checkpoint: Path, path: Path) -> None:
    """Saves the checkpoint with its program changed, loads it, and compiles what loads."""
    payload = dict(torch.load(checkpoint, weights_only=True))
    header = json.loads(payload["program"])
    change(header["program"])
    payload["program"] = json.dumps(header)
    torch.save(payload, path)
    if outcome(lambda: igc.load(path)) == "loads":
        outcome(lambda: igc.compile(path))
