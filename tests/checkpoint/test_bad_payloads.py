"""Archives in order with content that is not: refused in a line that says what is wrong."""

import json
import re
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_files import payload, refused
from checkpoint_nets import rezipped, same

import igc


def crafted(good: Path, target: Path, old: bytes, new: bytes) -> Path:
    """The good file with one piece of its pickle replaced."""
    with zipfile.ZipFile(good) as archive:
        pickled = archive.read("archive/data.pkl")
    assert pickled.count(old) >= 1
    return rezipped(good, target, {"data.pkl": pickled.replace(old, new)})


def test_tensors_larger_than_their_storage_are_refused(good: Path, tmp_path: Path) -> None:
    shape, stride = b"K\x03K\x04\x86", b"K\x04K\x01\x86"
    huge = b"\x8a\x08" + (1 << 40).to_bytes(8, "little")
    zero = b"K\x00K\x00\x86"
    with_shape = crafted(good, tmp_path / "a.pt", shape, huge + b"K\x04\x86")
    refused(with_shape)
    both = crafted(with_shape, tmp_path / "b.pt", stride, zero)
    refused(both, "more than the file holds")


def test_a_storage_that_claims_more_than_there_is_takes_no_memory(
    good: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(good) as archive:
        pickled = archive.read("archive/data.pkl")
    huge = b"\x8a\x08" + (1 << 42).to_bytes(8, "little")
    changed, count = re.subn(rb"(cpuq.)K.t", lambda m: m[1] + huge + b"t", pickled)
    assert count == 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = igc.load(rezipped(good, tmp_path / "net.pt", {"data.pkl": changed}))
    assert same(found(torch.ones(1, 4)), igc.load(good)(torch.ones(1, 4)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300 << 10


PAYLOADS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "list": (lambda p: [p], "holds no igc network"),
    "state_dict": (lambda p: p["tensors"], "--model FILE.py:factory"),
    "other format": (lambda p: {**p, "format": "onnx"}, "holds no igc network"),
    "newer version": (lambda p: {**p, "version": 2}, "version 2 of the format.*update igc"),
    "odd version": (lambda p: {**p, "version": [1]}, "version a list of 1"),
    "unknown kind": (lambda p: {**p, "kind": "executable"}, "unknown kind, 'executable'"),
    "extra key": (lambda p: {**p, "code": "1"}, "unknown field 'code'"),
    "no tensors": (lambda p: {k: v for k, v in p.items() if k != "tensors"}, "lacks the field"),
    "tensors a list": (lambda p: {**p, "tensors": [1]}, "expected a table of names"),
    "tensor a number": (lambda p: {**p, "tensors": {**p["tensors"], "alpha": 1}}, "is a int"),
    "number for name": (
        lambda p: {**p, "tensors": {**p["tensors"], 1: p["tensors"]["alpha"]}}, "expected text",
    ),
    "line in name": (
        lambda p: {**p, "tensors": {**p["tensors"], "a\nb": p["tensors"]["alpha"]}}, "unprintable",
    ),
    "unused tensor": (
        lambda p: {**p, "tensors": {**p["tensors"], "more": torch.ones(9)}}, "nothing uses",
    ),
    "missing tensor": (
        lambda p: {**p, "tensors": {k: v for k, v in p["tensors"].items() if k != "own.bias"}},
        "own.bias.*lacks",
    ),
    "conjugate": (
        lambda p: {**p, "tensors": {**p["tensors"], "alpha": (torch.ones(3) * 1j).conj()}},
        "'alpha' is of an unsupported kind",
    ),
    "complex gate": (
        lambda p: {**p, "tensors": {**p["tensors"], "alpha": torch.ones(3) * 1j}}, "is no real",
    ),
    "other shape": (
        lambda p: {**p, "tensors": {**p["tensors"], "own.weight": torch.ones(3, 5)}}, "cannot run",
    ),
    "other dtype": (
        lambda p: {**p, "tensors": {**p["tensors"], "own.weight": torch.ones(3, 4).int()}}, "",
    ),
    "program no text": (lambda p: {**p, "program": {}}, "expected JSON"),
    "program no JSON": (lambda p: {**p, "program": "{'a': 1}"}, "no proper JSON"),
    "program cut": (lambda p: {**p, "program": p["program"][:-5]}, "no proper JSON"),
    "program NaN": (lambda p: {**p, "program": '{"program": NaN, "state": {}}'}, "bare NaN"),
    "program deep": (lambda p: {**p, "program": "[" * 200_000}, "no proper JSON"),
    "program deep and closed": (lambda p: {**p, "program": "[" * 900 + "]" * 900}, "program"),
    "program huge number": (lambda p: {**p, "program": "1" * 5000}, "program"),
    "state of nothing": (lambda p: restate(p, {"none": "buffer"}), "state names 'none'"),
    "state unknown": (lambda p: restate(p, {"alpha": "code"}), "calls 'alpha' a 'code'"),
}  # fmt: skip


def restate(found: dict[str, Any], state: dict[str, str]) -> dict[str, Any]:
    header = json.loads(found["program"])
    header["state"].update(state)
    return {**found, "program": json.dumps(header)}


@pytest.mark.parametrize("case", PAYLOADS)
def test_spoilt_payloads_are_refused(case: str, good: Path, tmp_path: Path) -> None:
    spoil, said = PAYLOADS[case]
    torch.save(spoil(payload(good)), tmp_path / "net.pt")
    refused(tmp_path / "net.pt", said)
