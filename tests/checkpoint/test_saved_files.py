"""What a file holds and says: bytes, hashes, notes; and what is not saved."""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_nets import CASES, Saved, Tiny, tiny_file
from torch.utils._pytree import tree_leaves

import igc
from igc.checkpoint import is_igc_file, load_program, save_program
from igc.errors import BadCheckpoint, BadInput
from igc.program.health import check_finite


@pytest.mark.slow
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
            sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]}
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


@pytest.mark.slow
def test_the_file_needs_neither_igc_nor_the_users_code(
    tmp_path: Path, saved: Callable[[str], Saved]
) -> None:
    net, inputs, path = saved("idioms")
    torch.save((inputs, tree_leaves(net(*inputs))), tmp_path / "expected.pt")
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


def test_what_save_cannot_store_is_one_line(tmp_path: Path) -> None:
    class Odd(Tiny):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"a\nb": super().forward(x)}

    x = torch.randn(2, 4)
    target = tmp_path / "net.pt"
    with pytest.raises(BadInput, match="unprintable") as caught:
        igc.save(Odd(), target, x)
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
    with pytest.raises(BadInput, match=r"cannot write .*net\.pt: no space left on device"):
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
