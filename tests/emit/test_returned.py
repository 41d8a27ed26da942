"""Dataclasses, mappings of a class of one's own, constants beside tensors, names of any kind."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from slowness import slow_but
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import igc
from igc.checkpoint.data.values import decode_structure
from igc.compiler import program_of
from igc.errors import BadCheckpoint, BadInput
from igc.program.parsing import parse
from igc.program.returned import finished, structured
from igc.program.text import text
from igc_cli.main import run


@dataclasses.dataclass
class Result:
    seg: Tensor
    depth: Tensor | None = None
    word: str = "both"


class Mapping(OrderedDict):
    """As the output classes of transformers: items and attributes, without those that are None."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            if getattr(self, f.name) is not None:
                self[f.name] = getattr(self, f.name)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


@dataclasses.dataclass
class ModelOutput(Mapping):
    seg: Tensor | None = None
    depth: Tensor | None = None
    hidden: tuple[Tensor, ...] | None = None


@dataclasses.dataclass
class Registered(Mapping):
    seg: Tensor | None = None
    depth: Tensor | None = None


class Items(dict):
    def __getattr__(self, name: str) -> Any:
        return self[name]


class Parts:
    """A class that only torch can take apart."""

    def __init__(self, a: Tensor, b: Tensor, name: str) -> None:
        self.pair, self.name = (a, b), name


class Own(dict):
    pass


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    kinds: dict[type, tuple[Any, Any]] = {
        Own: (lambda d: (list(d.values()), list(d)), lambda v, k: Own(zip(k, v, strict=True))),
        Registered: (
            lambda d: (list(d.values()), list(d)),
            lambda v, k: Registered(**dict(zip(k, v, strict=True))),
        ),
        Parts: (lambda p: (list(p.pair), p.name), lambda v, name: Parts(*v, name)),
    }
    for kind, (apart, together) in kinds.items():
        pytree.register_pytree_node(kind, apart, together, serialized_type_name=kind.__name__)
    yield
    for kind in kinds:
        pytree._deregister_pytree_node(kind)


class Net(nn.Module):
    def __init__(self, make: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.make, self.a, self.b = make, nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.make(self.a(x), self.b(x))


#: What is returned, and the names of its outputs.
RETURNS: dict[str, tuple[Callable[[Tensor, Tensor], Any], tuple[str, ...]]] = {
    "dataclass": (Result, ("seg", "depth")),
    "dataclass with None": (lambda a, b: (b, Result(a, word="seg")), ("output_0", "1.seg")),
    "nested": (lambda a, b: {"t": Result({"x": a}, [b])}, ("t.seg.x", "t.depth.0")),
    "namespace": (lambda a, b: SimpleNamespace(left=a, right=b), ("left", "right")),
    "model output": (
        lambda a, b: ModelOutput(seg=a, hidden=(b, a)), ("seg", "hidden.0", "hidden.1")
    ),
    "registered model output": (lambda a, b: Registered(a, b), ("seg", "depth")),
    "items": (lambda a, b: Items(seg=a, depth=b), ("seg", "depth")),
    "registered dict": (lambda a, b: Own(seg=a, depth=b), ("seg", "depth")),
    "default dict": (lambda a, b: defaultdict(list, seg=a, depth=[b]), ("seg", "depth.0")),
    "keys are tuples": (lambda a, b: {("disp", 0): a, ("disp", 1): b}, ("disp.0", "disp.1")),
    "keys are numbers": (lambda a, b: {0: a, 1: b}, ("output_0", "output_1")),
    "keys of each kind": (
        lambda a, b: {None: a, True: b, ("a", None): a}, ("None", "True", "a.None")
    ),
    "constants": (
        lambda a, b: {"seg": a, "task": "both", "n": 3, "scale": -0.5, "on": True, "b": [b, "x"]},
        ("seg", "b.0"),
    ),
    "names that become one": (
        lambda a, b: {"a.b": a, "a": {"b": b}, "a.b_2": a + 1},
        ("a.b", "a.b_3", "a.b_2"),
    ),
    "names like numbered ones": (lambda a, b: ({"0": a, 0: b},), ("output_0_0", "output_0_0_2")),
}  # fmt: skip
NO_FILE = "parts of a registered class"
RETURNS[NO_FILE] = (lambda a, b: Parts(a, b, "x"), ("output_0", "output_1"))
QUICK = ("dataclass", "constants", "names that become one")


def plain(value: Any) -> Any:
    """What is left of it without its classes: dicts of fields or items, lists."""
    if isinstance(value, Parts):
        return [plain(v) for v in value.pair], value.name
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {k: plain(v) for k, v in zip(value._fields, value, strict=True)}
    if dataclasses.is_dataclass(value) or isinstance(value, SimpleNamespace):
        return {k: plain(v) for k, v in vars(value).items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def same(want: Any, have: Any, exact: bool = True) -> bool:
    if exact and type(want) is not type(have):
        return False
    wants, spec = pytree.tree_flatten(plain(want))
    haves, other = pytree.tree_flatten(plain(have))
    return spec == other and all(
        torch.allclose(a, b, atol=1e-6) if isinstance(a, Tensor) else (type(a), a) == (type(b), b)
        for a, b in zip(wants, haves, strict=True)
    )


def without_none(value: Any) -> Any:
    """Fields that are None are no items of a model output, and fields of the namedtuple."""
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    return value


@pytest.mark.parametrize("kind", RETURNS)
def test_a_static_network_returns_what_its_module_does(kind: str) -> None:
    make, names = RETURNS[kind]
    net, x = Net(make).eval(), torch.randn(2, 4)
    static = igc.compile(net, (x,))
    assert static.outputs == names
    for batch in (1, 5):
        x = torch.randn(batch, 4)
        assert same(net(x), static(x))
    assert same(net(x), finished(structured(net(x))))
    assert igc.verify(net, static, (x,)).passed


@pytest.mark.parametrize("kind", slow_but(QUICK, [k for k in RETURNS if k != NO_FILE]))
def test_files_hold_what_is_like_it(kind: str, tmp_path: Path) -> None:
    make, names = RETURNS[kind]
    net, x = Net(make).eval(), torch.randn(2, 4)
    want = without_none(plain(net(x)))
    static = igc.compile(net, (x,))
    igc.save(net, tmp_path / "gated.pt", (x,))
    static.save(tmp_path / "static.pt")
    for path in ("gated.pt", "static.pt"):
        assert same(want, without_none(plain(igc.load(tmp_path / path)(x))))
    again = igc.compile(tmp_path / "gated.pt")
    assert again.outputs == names
    assert same(want, without_none(plain(again(x))))
    static.export(tmp_path / "net")
    spec = importlib.util.spec_from_file_location("net", tmp_path / "net" / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert same(want, without_none(plain(module.load()(x))))
    assert names == module.OUTPUTS
    info = igc.export_onnx(static, tmp_path / "net.onnx")
    assert info.outputs == names
    check = igc.verify(tmp_path / "gated.pt", tmp_path / "net.onnx")
    assert check.passed
    assert tuple(check.outputs) == names
    written = parse(text(program_of(net, (x,))))
    assert written.outputs == names
    assert parse(text(written)).out_spec == written.out_spec


def test_constants_are_told_to_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, x = Net(RETURNS["constants"][0]).eval(), torch.randn(2, 4)
    info = igc.export_onnx(igc.compile(net, (x,)), tmp_path / "net.onnx")
    assert info.left_out == {"task": "both", "n": 3, "scale": -0.5, "on": True, "b.1": "x"}
    igc.save(net, tmp_path / "gated.pt", (x,))
    asked = [str(tmp_path / "gated.pt"), "--out", str(tmp_path / "m.onnx")]
    assert run(["compile", *asked]) == 0
    assert "output 'task' is always 'both': the ONNX file has no" in capsys.readouterr().err


def test_a_class_that_no_file_can_hold_is_refused_there(tmp_path: Path) -> None:
    net, x = Net(RETURNS[NO_FILE][0]).eval(), torch.randn(2, 4)
    for write in (
        lambda: igc.save(net, tmp_path / "gated.pt", (x,)),
        lambda: igc.compile(net, (x,)).save(tmp_path / "static.pt"),
        lambda: igc.compile(net, (x,)).export(tmp_path / "net"),
    ):
        with pytest.raises(BadInput, match="returns a Parts, which needs the code of its class"):
            write()


class Counts(dict):
    """More than its items: nobody can make it of these alone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made = object()


@dataclasses.dataclass
class Derived:
    seg: Tensor
    area: Tensor = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.area = self.seg.sum()


#: What is refused, and by which words.
REFUSED: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "object": (lambda a, b: {"seg": a, "meta": object()}, "output 'meta' is a object"),
    "set": (lambda a, b: (a, {b}), "output 'output_1' is a set"),
    "bytes": (lambda a, b: {"x": [a, b"y"]}, "output 'x.1' is a bytes"),
    "more than items": (lambda a, b: {"t": Counts({"seg": a})}, "output 't' is a Counts"),
    "computed field": (lambda a, b: Derived(a), "returns is a Derived"),
    "infinite": (lambda a, b: {"seg": a, "far": float("inf")}, "output 'far' is inf"),
    "key": (lambda a, b: {2.5: a}, r"output '2.5' has the key 2.5, a float"),
    "size": (lambda a, b: {"seg": a, "n": a.shape[0]}, "output 'n' is a size of the inputs"),
    "nothing": (lambda a, b: {"word": "x"}, "returns no tensor"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_returned_is_refused_by_name(kind: str) -> None:
    make, words = REFUSED[kind]
    with pytest.raises(BadInput, match=words) as refusal:
        igc.compile(Net(make).eval(), (torch.randn(2, 4),))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", ["a\nb", "x" * 600, 1 << 70])
def test_a_constant_that_would_not_be_read_is_not_written(value: Any, tmp_path: Path) -> None:
    net = Net(lambda a, b: {"seg": a, "word": value}).eval()
    with pytest.raises(BadInput, match="cannot be stored"):
        igc.save(net, tmp_path / "gated.pt", (torch.randn(2, 4),))


@pytest.mark.parametrize(
    "data",
    [
        {"constant": []}, {"constant": [None]}, {"constant": [[1]]}, {"constant": [1, 2]},
        {"constant": [float("nan")]}, {"constant": [{"tuple": []}]}, {"constant": ["x" * 600]},
        {"dict": [[{"list": []}, None]]}, {"dict": [[{"tuple": [1.5]}, None]]},
        {"dict": [[{"tuple": [{"tuple": []}]}, None]]},
    ],
)  # fmt: skip
def test_bad_constants_and_keys_in_a_file_are_refused(data: Any) -> None:
    with pytest.raises(BadCheckpoint):
        decode_structure(data, "the output structure")
