"""What is saved comes back: same bits out, same names, same structure, same file."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_nets import CASES, Idioms, Tiny, made, same, tiny_file
from torch import nn

import igc
from igc.capture import capture
from igc.checkpoint import check_finite, is_igc_file, load_program, save_program
from igc.errors import BadCheckpoint, BadInput
from igc.graph import execute
from igc.network import GatedGraph
from igc.serialize import to_data
from igc.testing import ARCHITECTURES, architecture, build

Saved = tuple[nn.Module, tuple[torch.Tensor, ...], Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """Networks of `CASES` with a file each, made once: saved("tiny") -> net, inputs, path."""
    folder = tmp_path_factory.mktemp("saved")

    @functools.cache
    def make(case: str) -> Saved:
        torch.manual_seed(0)
        net, inputs = made(case)
        igc.save(net, folder / f"{case}.pt", inputs)
        return net, inputs, folder / f"{case}.pt"

    return make


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_network_computes_the_same(case: str, saved: Callable[[str], Saved]) -> None:
    net, inputs, path = saved(case)
    check_same(net, igc.load(path), inputs)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("idioms", torch.float64),
        ("attention", torch.float16),
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


QUICK = ("patch_transformer", "squeeze_excite")


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES],
)
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


def test_the_same_network_gives_the_same_bytes(
    tmp_path: Path, saved: Callable[[str], Saved]
) -> None:
    net, inputs, path = saved("tiny")
    torch.serialization.set_crc32_options(False)
    try:
        igc.save(copy.deepcopy(net), tmp_path / "other_name.pt", inputs)
        assert torch.serialization.get_crc32_options() is False
    finally:
        torch.serialization.set_crc32_options(True)
    assert (tmp_path / "other_name.pt").read_bytes() == path.read_bytes()
    for case in CASES:
        *_, path = saved(case)
        igc.save(igc.load(path), tmp_path / "again.pt")
        assert (tmp_path / "again.pt").read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_other_hash_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    script = tmp_path / "write.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, torch
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from checkpoint_nets import made
            import igc
            torch.manual_seed(0)
            torch.set_num_threads(int(sys.argv[2]))
            net, inputs = made("igc.nn")
            igc.save(net, sys.argv[1], inputs)
            """
        )
    )
    found = set()
    for seed, threads in (("1", "1"), ("2", "2")):
        target = tmp_path / f"{seed}.pt"
        command = [sys.executable, str(script), str(target), threads]
        subprocess.run(command, check=True, env=_environment(PYTHONHASHSEED=seed))
        found.add(target.read_bytes())
    assert len(found) == 1


def test_the_file_needs_neither_igc_nor_the_users_code(
    tmp_path: Path, saved: Callable[[str], Saved]
) -> None:
    net, inputs, path = saved("idioms")
    torch.save((inputs, list(_leaves(net(*inputs)))), tmp_path / "expected.pt")
    check = f"""
        import sys, torch
        raw = torch.load({str(path)!r}, weights_only=True, mmap=True)
        assert raw["format"] == "igc" and isinstance(raw["program"], str)
        assert not any(m.split(".")[0] == "igc" for m in sys.modules)
        import igc
        net = igc.load({str(path)!r})
        inputs, expected = torch.load({str(tmp_path / "expected.pt")!r}, weights_only=True)
        found = torch.utils._pytree.tree_leaves(net(*inputs))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert "checkpoint_nets" not in sys.modules
        print("same")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(check)],
        capture_output=True, text=True, check=False, env=_environment(), cwd=_ROOT,
    )  # fmt: skip
    assert done.stdout == "same\n", done.stderr


_ROOT = Path(igc.__file__).parents[1]


def _environment(**more: str) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(_ROOT), **more}


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


def test_the_note_carries_the_hashes_of_file_and_source(tmp_path: Path) -> None:
    import hashlib

    path = tiny_file(tmp_path / "net.pt")
    program = load_program(path)
    gated = hashlib.sha256(path.read_bytes()).hexdigest()
    assert program.note == {"kind": "gated", "source_sha256": gated}
    save_program(program, tmp_path / "static.pt", "static")
    static = hashlib.sha256((tmp_path / "static.pt").read_bytes()).hexdigest()
    note = load_program(tmp_path / "static.pt").note
    assert note == {"kind": "static", "source_sha256": static, "compiled_from": gated}


def test_igc_files_are_told_apart(tmp_path: Path) -> None:
    path = tiny_file(tmp_path / "net.pt")
    assert is_igc_file(path)
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:2000])
    assert is_igc_file(tmp_path / "cut.pt")  # so that loading it says that it is damaged
    torch.save(Tiny().state_dict(), tmp_path / "weights.pt")
    assert not is_igc_file(tmp_path / "weights.pt")
    assert not is_igc_file(tmp_path / "none.pt")
    assert not is_igc_file(tmp_path)


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


def test_what_save_cannot_store_is_one_line(tmp_path: Path) -> None:
    from typing import NamedTuple

    class Pair(NamedTuple):
        a: torch.Tensor

    class Named(Tiny):
        def forward(self, x: torch.Tensor) -> Pair:  # type: ignore[override]
            return Pair(super().forward(x))

    class Strided(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).as_strided((2, 2), (1, 1))

    class Odd(Tiny):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"a\nb": super().forward(x)}

    x = torch.randn(2, 4)
    target = tmp_path / "net.pt"
    for net, said in (
        (Named(), "Pair"),
        (Strided(), "as_strided"),
        (Odd(), "unprintable"),
    ):
        with pytest.raises(BadInput, match=said) as caught:
            igc.save(net, target, x)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="needs example_inputs"):
        igc.save(Tiny(), target)
    with pytest.raises(BadInput, match="no folder"):
        igc.save(Tiny(), tmp_path / "no" / "net.pt", x)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_file(tmp_path / "net.pt")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        igc.save(Tiny(), path, torch.randn(2, 4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_nan_gates_are_refused_and_other_nans_are_said(tmp_path: Path) -> None:
    net = Tiny()
    with torch.no_grad():
        net.own.weight[0, 0] = float("nan")
        net.own.bias[1:] = float("inf")
    igc.save(net, tmp_path / "net.pt", torch.randn(2, 4))
    assert check_finite(load_program(tmp_path / "net.pt")) == [
        "own.weight: 1 NaN of 12 values",
        "own.bias: 2 infinite of 3 values",
    ]
    with torch.no_grad():
        net.alpha[1] = float("nan")
    with pytest.raises(BadInput, match="gate of layer 'first', task 'seg' is NaN in 1 of 3"):
        igc.save(net, tmp_path / "bad.pt", torch.randn(2, 4))
    _spoil(tmp_path / "net.pt", tmp_path / "bad.pt", "alpha", float("nan"))
    with pytest.raises(BadCheckpoint, match="gate of layer 'first', task 'seg' is NaN in 3 of 3"):
        igc.load(tmp_path / "bad.pt")


def _spoil(source: Path, target: Path, name: str, value: float) -> None:
    payload = torch.load(source, weights_only=True)
    payload["tensors"][name].fill_(value)
    torch.save(payload, target)


def test_idioms_really_has_what_the_tests_speak_of() -> None:
    net = Idioms()
    assert "scale" not in net.state_dict() and "mask" in net.state_dict()
