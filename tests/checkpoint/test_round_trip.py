"""What is saved comes back: same bits out, same names, same structure, same file."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_nets import CASES, Idioms, Saved, Tiny, made, same, tiny_file
from slowness import slow_but
from torch import nn

import igc
from igc.capture import capture
from igc.checkpoint import load_program, save_program
from igc.checkpoint.data import to_data
from igc.checkpoint.gated_graph import GatedGraph
from igc.errors import BadInput
from igc.program.execute import execute
from igc.testing import ARCHITECTURES, architecture, build


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_loaded_network_computes_the_same(case: str, saved: Callable[[str], Saved]) -> None:
    net, inputs, path = saved(case)
    check_same(net, igc.load(path), inputs)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("idioms", torch.float64),
        pytest.param("attention", torch.float16, marks=pytest.mark.slow),
        pytest.param("attention", torch.float64, marks=pytest.mark.slow),
        pytest.param("idioms", torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_a_loaded_network_computes_the_same_in_other_types(
    case: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    net, inputs = made(case, dtype)
    igc.save(net, tmp_path / "net.pt", inputs)
    check_same(net, igc.load(tmp_path / "net.pt"), inputs)


def check_same(net: nn.Module, loaded: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """The same bits on the inputs, the same numbers at another batch size."""
    assert isinstance(loaded, GatedGraph)
    assert same(loaded(*inputs), net(*inputs))
    dtype = inputs[0].dtype
    wider = tuple(torch.cat([x, x[:1] * 2, x]) for x in inputs)
    # Another batch size may take another kernel, and the captured graph calls linear layers on
    # other strides; in float64 nothing but the last digits can differ.
    expected, found = _leaves(net(*wider)), _leaves(loaded(*wider))
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 2e-2)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=tolerance, atol=tolerance)


def _leaves(tree: object) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but({"squeeze_excite"}, ARCHITECTURES))
def test_every_architecture_comes_back(name: str, tmp_path: Path) -> None:
    spec = architecture(name, tasks=2, returns="nested", seed=3)
    net, inputs = build(spec)
    program = capture(net, inputs)
    save_program(program, tmp_path / "gated.pt", "gated")
    again = load_program(tmp_path / "gated.pt")
    assert to_data(program)["nodes"] == to_data(again)["nodes"]
    for a, b in zip(execute(program, inputs), execute(again, inputs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("case", ["tiny", "igc.nn"])
def test_a_static_network_comes_back(case: str, tmp_path: Path) -> None:
    net, inputs = made(case)
    static = igc.compile(net, inputs)
    with torch.no_grad():
        for parameter in static.parameters():
            parameter.add_(0.1)  # fine-tuned since
    static.save(tmp_path / "static.pt")
    again = igc.load(tmp_path / "static.pt")
    assert isinstance(again, igc.StaticNetwork)
    assert same(again(*inputs), static(*inputs))
    again.save(tmp_path / "again.pt")
    assert (tmp_path / "again.pt").read_bytes() == (tmp_path / "static.pt").read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_state_dict_keys_and_values_are_the_originals(
    case: str, saved: Callable[[str], Saved]
) -> None:
    net, _, path = saved(case)
    loaded = igc.load(path)
    wanted, found = net.state_dict(), loaded.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)
    trainable = {k: p.requires_grad for k, p in net.named_parameters()}
    assert {k: p.requires_grad for k, p in loaded.named_parameters()} == trainable
    net.load_state_dict(found)


def test_tied_weights_are_stored_once_and_tied_again(saved: Callable[[str], Saved]) -> None:
    net, inputs, path = saved("attention")
    net = copy.deepcopy(net)
    with zipfile.ZipFile(path) as archive:
        stored = sum(e.file_size for e in archive.infolist() if "/data/" in e.filename)
    assert stored == sum(p.numel() * 4 for p in net.parameters())
    loaded = igc.load(path)
    assert loaded.get_parameter("up.weight") is loaded.get_parameter("same.weight")
    with torch.no_grad():
        loaded.get_parameter("up.weight").zero_()
        net.up.weight.zero_()
    assert same(loaded(*inputs), net(*inputs))


def test_a_slice_of_a_large_tensor_is_stored_as_the_slice(tmp_path: Path) -> None:
    net = Tiny()
    net.own.weight = nn.Parameter(torch.randn(100_000, 4)[5:8])
    net.shared.weight = nn.Parameter(torch.randn(4, 3).t())
    igc.save(net, tmp_path / "net.pt", torch.randn(2, 4))
    assert (tmp_path / "net.pt").stat().st_size < 20_000
    x = torch.randn(3, 4)
    assert same(igc.load(tmp_path / "net.pt")(x), net.eval()(x))


def test_saving_changes_nothing_in_the_module(tmp_path: Path) -> None:
    net, inputs = made("idioms")
    net.train()
    net.bn.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    igc.save(net, tmp_path / "net.pt", inputs)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.requires_grad for k, p in net.named_parameters() if k != "forgotten")


def test_a_loaded_network_trains_converts_and_copies(
    tmp_path: Path, saved: Callable[[str], Saved]
) -> None:
    _, inputs, path = saved("idioms")
    loaded = igc.load(path)
    file = path.read_bytes()
    loaded.train()
    torch.optim.SGD([p for p in loaded.parameters() if p.requires_grad], lr=0.1).zero_grad()
    loaded(*inputs)["seg"].nan_to_num(0, 0, 0).square().sum().backward()
    gradient = loaded.get_parameter("conv.weight").grad
    assert gradient is not None and gradient.abs().sum() > 0
    with torch.no_grad():
        loaded.get_parameter("conv.weight").sub_(0.1 * gradient)
    assert path.read_bytes() == file  # mapped, yet never written to

    twin = copy.deepcopy(loaded).eval()
    assert same(twin(*inputs), loaded.eval()(*inputs))
    assert twin.get_parameter("conv.weight") is not loaded.get_parameter("conv.weight")
    double = twin.double()(*(x.double() for x in inputs))
    for a, b in zip(_leaves(double), _leaves(loaded(*inputs)), strict=True):
        assert a.dtype == (torch.float64 if b.dtype.is_floating_point else b.dtype)
        torch.testing.assert_close(a, b.to(a.dtype), rtol=1e-4, atol=1e-4)
    igc.save(twin, tmp_path / "double.pt")
    assert same(igc.load(tmp_path / "double.pt")(*(x.double() for x in inputs)), double)


def test_a_loaded_network_refuses_inputs_that_do_not_fit(tmp_path: Path) -> None:
    loaded = igc.load(tiny_file(tmp_path / "net.pt"))
    with pytest.raises(BadInput, match="takes 1 inputs, got 2"):
        loaded(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(BadInput, match=r"input 'x' has the shape 1x5, expected \w+x4"):
        loaded(torch.ones(1, 5))
    with pytest.raises(BadInput, match="shape 4, expected"):
        loaded(torch.ones(4))


def test_a_loaded_network_compiles_and_is_captured_anew(saved: Callable[[str], Saved]) -> None:
    net, inputs, path = saved("igc.nn")
    loaded = igc.load(path)
    assert isinstance(loaded, GatedGraph)
    for layer, by_task in net.gates.items():
        for task, gate in by_task.items():
            assert torch.equal(loaded.gates[layer][task].alpha, gate.alpha)
    assert list(loaded.gates) == list(net.gates) == ["act", "body.1"]
    assert torch.equal(loaded.mixes["act"].beta, net.mixes["act"].beta)
    assert loaded.tasks == ("b", "a") == tuple(loaded(*inputs))
    program, fresh, anew = (
        load_program(path), capture(net, inputs), capture(loaded, inputs)
    )  # fmt: skip
    assert program.gates == fresh.gates == anew.gates
    assert program.mixes == fresh.mixes == anew.mixes
    for static in (igc.compile(loaded), igc.compile(path)):
        for task, value in net(*inputs).items():
            torch.testing.assert_close(static(*inputs)[task], value, rtol=1e-5, atol=1e-6)


def test_submodules_may_be_called_like_what_a_loaded_network_has(tmp_path: Path) -> None:
    class Clash(Tiny):
        def __init__(self) -> None:
            super().__init__()
            for name in ("tasks", "to_program", "extra"):
                self.register_module(name, nn.Linear(3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            own = super().forward(x)
            return self.extra(self._modules["to_program"](self.tasks(own)))

    net, x = Clash(), torch.randn(2, 4)
    path = tmp_path / "net.pt"
    save_program(capture(net, x), path, "gated")
    loaded = igc.load(path)
    assert isinstance(loaded, GatedGraph)
    assert loaded.tasks == ("seg",)
    assert set(loaded.state_dict()) == set(net.state_dict())
    assert same(loaded(x), net.eval()(x))


def test_idioms_really_has_what_the_tests_speak_of() -> None:
    net = Idioms()
    assert "scale" not in net.state_dict() and "mask" in net.state_dict()
