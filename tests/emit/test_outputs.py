"""Networks that return None beside their tensors, and networks that return namedtuples."""

from __future__ import annotations

import importlib.util
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import igc
from igc.checkpoint.data.values import decode_structure, encode_structure
from igc.emit import emit
from igc.errors import BadCheckpoint, BadInput
from igc.program.structure import Absent, named


class Pair(NamedTuple):
    seg: Tensor
    aux: Tensor | None


class Returns(nn.Module):
    """Two features under a mask, given out the way `wrap` puts them; `aux` only in training."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.aux = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 2)
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0]))
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        a, b = self.one(x), self.two(x)
        aux = self.aux(x) if self.training else None
        return self.wrap(self.mask * a + (1 - self.mask) * b, aux, b)


Flat = namedtuple("Flat", "seg depth")
WRAPS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "none in a dict": (lambda a, n, b: {"seg": a, "aux": n, "depth": b}, ("seg", "depth")),
    "none in a tuple": (lambda a, n, b: (n, a, [n, b], n), ("output_1", "output_2_1")),
    "namedtuple": (lambda a, n, b: Flat(a, b), ("seg", "depth")),
    "namedtuple with none": (lambda a, n, b: {"x": Pair(a, n), "y": b}, ("x.seg", "y")),
    "called like a part of the source": (
        lambda a, n, b: named("Net", ("left", "right"))(a, b),
        ("left", "right"),
    ),
    "two types of one name": (
        lambda a, n, b: [Flat(a, b), named("Flat", ("left",))(a)],
        ("0.seg", "0.depth", "1.left"),
    ),
}


def flat(value: Any) -> Any:
    """Namedtuples by name and fields: types that were read from a file are others."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f"{type(value).__name__}{value._fields}": [flat(v) for v in value]}
    if isinstance(value, dict):
        return {k: flat(v) for k, v in value.items()}
    return [flat(v) for v in value] if isinstance(value, (list, tuple)) else value


def same(want: Any, have: Any) -> bool:
    wants, spec = pytree.tree_flatten(flat(want))
    haves, other = pytree.tree_flatten(flat(have))
    return spec == other and all(
        b is None if a is None else torch.allclose(a, b) for a, b in zip(wants, haves, strict=True)
    )


def imported(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("net", folder / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRAPS)
def test_the_structure_comes_back(kind: str, tmp_path: Path) -> None:
    wrap, names = WRAPS[kind]
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
    net = Returns(wrap).eval()
    want = net(x)
    static = igc.compile(net, (x,))
    assert static.outputs == names
    have = static(x)
    assert pytree.tree_structure(have) == pytree.tree_structure(want)  # the very types
    assert same(want, have)
    assert same(want, emit(static.to_program())(x))
    igc.save(net, tmp_path / "gated.pt", (x,))
    static.save(tmp_path / "static.pt")
    for path in ("gated.pt", "static.pt"):
        assert same(want, igc.load(tmp_path / path)(x))
    again = igc.compile(tmp_path / "gated.pt")
    assert pytree.tree_structure(again(x)) == pytree.tree_structure(
        igc.load(tmp_path / "static.pt")(x)  # types read from files are equal to each other
    )
    static.export(tmp_path / "net")
    assert same(want, imported(tmp_path / "net").load()(x))
    igc.export_onnx(static, tmp_path / "net.onnx")
    assert igc.verify(net, static, (x,)).passed
    check = igc.verify(tmp_path / "gated.pt", tmp_path / "net.onnx")
    assert check.passed
    assert tuple(check.outputs) == names
    assert igc.report(net, static, references=False).cost.outputs == names


def test_tasks_are_chosen_past_a_none() -> None:
    net = Returns(WRAPS["none in a dict"][0]).eval()
    x = torch.randn(2, 4)
    assert torch.equal(igc.compile(net, (x,), tasks=["depth"])(x)["depth"], net(x)["depth"])


def test_a_network_without_any_tensor_is_refused() -> None:
    with pytest.raises(BadInput, match="Returns returns no tensor"):
        igc.compile(Returns(lambda a, n, b: {"aux": n}), (torch.randn(2, 4),))
    with pytest.raises(BadInput, match="Returns returns no tensor"):
        igc.compile(Returns(lambda a, n, b: {"aux": 3}), (torch.randn(2, 4),))


def test_names_of_namedtuples_cannot_reach_the_code() -> None:
    program = igc.compile(Returns(WRAPS["namedtuple"][0]), (torch.randn(2, 4),)).to_program()
    for name in ("torch", "self", "OrderedDict", "F"):
        spec = pytree.tree_structure(named(name, ("a", "b"))(0, 0))
        static = emit(replace(program, out_spec=spec))
        assert f"return {name}_2(" in static.source
        assert static(torch.randn(2, 4))._fields == ("a", "b")


BAD = {
    "code": (["os.system", []], "not a plain name"),
    "keyword": (["class", []], "not a plain name"),
    "no name": ([3, []], "expected text"),
    "private field": (["P", [["_make", None]]], "impossible namedtuple"),
    "same field": (["P", [["a", None], ["a", None]]], "impossible namedtuple"),
    "no pair": (["P", [["a"]]], "no pairs"),
    "no fields": (["P"], "expected a name and fields"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_namedtuples_in_a_file_are_refused(case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(BadCheckpoint, match=message):
        decode_structure({"namedtuple": data}, "the output structure")


def test_structures_are_stored_as_plain_data() -> None:
    spec = pytree.tree_structure((Pair(0, Absent()), Absent()))
    stored = encode_structure(spec)
    pair = {"namedtuple": ["Pair", [["seg", None], ["aux", {"none": []}]]]}
    assert stored == {"tuple": [pair, {"none": []}]}
    back = decode_structure(stored, "here")
    assert back.num_leaves == spec.num_leaves == 1
    assert encode_structure(back) == stored
    with pytest.raises(BadCheckpoint, match="unknown structure"):
        decode_structure({"none": [1]}, "here")
