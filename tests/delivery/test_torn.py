"""A run killed between two of its renames: `audit` and `verify` tell which files are of another."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from fault_runs import OUTPUTS, compile_arguments, listing
from forked import forked
from tiny import Tiny

import igc
from igc.certificate.company import listed, strangers, unlike
from igc_cli.main import run

Capture = pytest.CaptureFixture[str]
FILES = (*OUTPUTS, "m.manifest.json")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two checkpoints of one network with other weights, and the other way to be gated."""
    folder = tmp_path_factory.mktemp("networks")
    paths = [folder / f"{i}.pt" for i in range(2)]
    for i, path in enumerate(paths):
        torch.manual_seed(i)
        net = Tiny()
        with torch.no_grad():
            net.alpha.copy_(torch.tensor([1.0, -1.0, 1.0 - 2 * i]))
        igc.save(net, path, torch.randn(2, 4))
    return paths


@pytest.fixture(scope="module")
def runs(networks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """What an undisturbed run of each writes."""
    found = []
    for i, path in enumerate(networks):
        folder = tmp_path_factory.mktemp(f"run{i}")
        assert run([str(a) for a in compile_arguments(path, folder, "--no-verify")]) == 0
        found.append(listing(folder))
    assert all(found[0][name] != found[1][name] for name in FILES)
    return found


def laid(folder: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def told(folder: Path, networks: list[Path], capsys: Capture) -> tuple[list[int], str]:
    """The exit codes of audit against each, and all that audit and verify say of files."""
    model = folder / "m.onnx"
    capsys.readouterr()
    codes = [run(["audit", str(model), "--against", str(path)]) for path in networks]
    for path in networks:
        run(["verify", str(path), str(model)])
    out, err = capsys.readouterr()
    return codes, out + err


def killed_at(rename: int) -> None:
    """From now on, the process dies in place of that rename."""
    done = [0]
    real = os.replace

    def replace(a: object, b: object) -> None:
        if any(part.startswith(".igc-") for part in Path(str(b)).parts):
            real(a, b)  # type: ignore[arg-type]  # what another library does on its way
            return
        if done[0] == rename:
            os.kill(os.getpid(), signal.SIGKILL)
        done[0] += 1
        real(a, b)  # type: ignore[arg-type]

    os.replace = replace  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.parametrize("rename", range(len(FILES) + 1))
def test_a_torn_set_is_told(
    rename: int, networks: list[Path], runs: list[dict[str, bytes]], tmp_path: Path, capsys: Capture
) -> None:
    laid(tmp_path, runs[0])
    done = forked(
        *compile_arguments(networks[1], tmp_path, "--no-verify"), before=lambda: killed_at(rename)
    )
    assert done.code == (0 if rename == len(FILES) else -signal.SIGKILL), done.output
    found = {name: (tmp_path / name).read_bytes() for name in FILES}
    new = [name for name in FILES if found[name] == runs[1][name]]
    assert len(new) == rename and all(found[n] in (runs[0][n], runs[1][n]) for n in FILES)
    codes, said = told(tmp_path, networks, capsys)
    if rename in (0, len(FILES)):
        assert codes == ([0, 1] if rename == 0 else [1, 0])
        assert "files:" not in said and "not of the run" not in said
    else:
        assert codes == [1, 1]
        assert "hash: m.onnx" in said or all(f"files: {n} is not of the run" in said for n in new)
        assert "files: m.onnx and m.manifest.json are not of one run" in said or any(
            said.count(f"files: {n} is not of the run") == 4 for n in new
        )


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_another_run_is_told(
    name: str, networks: list[Path], runs: list[dict[str, bytes]], tmp_path: Path, capsys: Capture
) -> None:
    laid(tmp_path, {**runs[0], name: runs[1][name]})
    codes, said = told(tmp_path, networks[:1], capsys)
    assert codes == [1]
    assert f"{name} is not of the run" in said or "are not of one run" in said


def test_files_that_are_not_there_are_no_strangers(
    networks: list[Path], runs: list[dict[str, bytes]], tmp_path: Path, capsys: Capture
) -> None:
    laid(tmp_path, {name: runs[0][name] for name in ("m.onnx", "m.manifest.json")})
    codes, said = told(tmp_path, networks[:1], capsys)
    assert codes == [0] and "files:" not in said


def test_the_manifest_names_nothing_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "s.pt").write_bytes(b"x")
    home = tmp_path / "in" / "m.onnx"
    assert listed(home, [(tmp_path / "s.pt", tmp_path / "s.pt")]) == {}
    assert list(listed(tmp_path / "m.onnx", [(tmp_path / "s.pt", tmp_path / "s.pt")])) == ["s.pt"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../../etc/passwd": ""}, "not beside the model"),
        ({"/etc/passwd": ""}, "not beside the model"),
        ({"a\0b": ""}, "not beside the model"),
        ([], "list of files is none"),
        ({str(i): "" for i in range(99)}, "list of files is none"),
    ],
)
def test_a_list_that_leads_elsewhere_is_told(files: object, said: str, tmp_path: Path) -> None:
    assert all(said in line for line in strangers(tmp_path / "m.onnx", {"files": files}))
    assert list(strangers(tmp_path / "m.onnx", {"files": files}))


def test_a_manifest_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"model")
    assert unlike(tmp_path / "m.onnx", lambda text: b"") == []
    (tmp_path / "m.manifest.json").write_text(json.dumps({}))
    assert unlike(tmp_path / "m.onnx", lambda text: b"del") == []
    assert "not of one run" in unlike(tmp_path / "m.onnx", lambda text: b"else")[0]
    (tmp_path / "m.manifest.json").write_text("[" * 9)
    assert "no manifest" in unlike(tmp_path / "m.onnx", lambda text: b"del")[0]
