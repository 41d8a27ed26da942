"""Names that a checkpoint brings along: in generated code, in reports, on the disk."""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Tiny

import igc
from igc_cli.main import run

PROOF = "__import__('pathlib').Path('PROOF').touch()"
NAMES = {
    "quotes": f"'); {PROOF}; ('",
    "double quotes": f'"); {PROOF}; ("',
    "triple quotes": f'"""\n{PROOF}\n"""'.replace("\n", " "),
    "comment": f"x # {PROOF}",
    "format": "{__class__.__init__.__globals__} %s %(x)s $x",
    "f-string": "{" + PROOF + "}",
    "dunder": "__class__.__bases__",
    "keyword": "import os",
    "path": "../../x",
    "absolute path": "/tmp/igc-proof",
    "script": f"<script>{PROOF}</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x="',
    "entity": "&lt;script&gt;&#x3c;",
    "style": "</style><style>body{display:none}",
    "lookalikes": "ｉｍｐｏｒｔ ｏｓ",
    "markdown": "[x](javascript:alert(1)) | `x` ![](http://example.com/x.png)",
    "formula": "=cmd|'/C calc'!A0",
    "rich markup": "[link=http://example.com]x[/link][bold red]",
    "long": "a" * 500,
}


def spoilt(checkpoint: Path, name: str, target: Path) -> Path:
    """The checkpoint with `name` for its layers, tasks, tensors and output."""
    payload = dict(torch.load(checkpoint, weights_only=True))
    header = json.loads(payload["program"])
    program = header["program"]
    stored = {f"{name}.{i}"[-512:]: k for i, k in enumerate(payload["tensors"])}
    renamed = {old: new for new, old in stored.items()}
    for node in program["nodes"]:
        node["layer"] = name
        if node["op"] == "get_attr":
            node["target"] = renamed[node["target"]]
    program["outputs"] = [name]
    program["structure"] = {"dict": [[name, None]]}
    program["gates"] = {name: {name: renamed["alpha"]}}
    header["state"] = {renamed[k]: v for k, v in header["state"].items()}
    payload["tensors"] = {renamed[k]: v for k, v in payload["tensors"].items()}
    payload["program"] = json.dumps(header)
    torch.save(payload, target)
    return target


class Page(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


@pytest.fixture(scope="module")
def plain_page(checkpoint: Path) -> Page:
    return Page(igc.report(checkpoint).to_html())


@pytest.mark.parametrize("case", NAMES)
def test_names_stay_names(
    case: str,
    checkpoint: Path,
    plain_page: Page,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Compiled with every output there is: nothing runs, nothing is written elsewhere."""
    name = NAMES[case]
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    spoilt(checkpoint, name, home / "net.pt")
    monkeypatch.chdir(home)
    code = run(["compile", "net.pt", "--out", "m.onnx", "--torch-out", "s.pt",
                "--source-out", "src", "--report", "r.html"])  # fmt: skip
    assert code == 0, capsys.readouterr().err
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert written - {"a/b/m.manifest.json"} == {
        f"a/b/{n}"
        for n in ("net.pt", "m.onnx", "s.pt", "r.html", "src/net.py", "src/weights.safetensors")
    }
    check_source((home / "src" / "net.py").read_text(encoding="utf-8"), name)
    page = Page((home / "r.html").read_text(encoding="utf-8"))
    assert page.tags == plain_page.tags
    assert page.attributes == plain_page.attributes
    static = igc.load("s.pt")
    assert repr(static).isascii() and PROOF not in repr(static)
    assert all(line.isprintable() for line in repr(igc.load("net.pt")).split("\n"))
    assert list(static(torch.ones(2, 4))) == [name]
    assert not list(tmp_path.rglob("PROOF"))


def check_source(text: str, name: str) -> None:
    """The code imports what it always does, and holds the name as text in literals only."""
    tree = ast.parse(text)
    assert text.isascii()
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert imported == {"Path", "torch", "torch.nn.functional", "load_file", "nn", "tree_leaves"}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    assert not names & {"__import__", "eval", "exec", "open", "compile", "getattr", "globals"}
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    assert name in texts


@pytest.mark.slow
def test_generated_code_does_nothing_but_compute(checkpoint: Path, tmp_path: Path) -> None:
    """Run as a script, imported, printed: no name has become code."""
    for i, name in enumerate(NAMES.values()):
        net = igc.load(spoilt(checkpoint, name, tmp_path / "net.pt"))
        igc.compile(net).export(tmp_path / f"net{i}")
    script = """
import pathlib, sys, torch
seen = []
def watch(event, args):
    if event.startswith(("subprocess", "os.system", "os.exec", "os.fork", "socket", "os.mkdir")):
        seen.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append(args)
from safetensors.torch import load_file
import torch.nn.functional, torch.utils._pytree
sys.dont_write_bytecode = True
sys.addaudithook(watch)
for i in range(int(sys.argv[1])):
    text = pathlib.Path(f"net{i}/net.py").read_text()
    scope = {"__name__": "__main__", "__file__": str(pathlib.Path(f"net{i}/net.py").absolute())}
    exec(compile(text, "net.py", "exec"), scope)
    net = scope["load"]()
    repr(net), str(net), repr(net.state_dict())
print(seen)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(len(NAMES))],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert not list(tmp_path.rglob("PROOF"))


@pytest.mark.parametrize("name", [
    "a\nb", "a\x1b[2J", "a\x00", "\ud800", "a\u2028b", "a" * 600, "\u202ea\u2069", "a\u200bb",
    "\ufeffa", "a\u00adb", "a\U000e0041", "a\x9b2J", "a\ue000",
])  # fmt: skip
def test_names_that_a_reader_would_not_see_as_they_are_are_refused(
    name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = spoilt(checkpoint, name, tmp_path / "net.pt")
    assert run(["compile", str(path), "--out", str(tmp_path / "m.onnx")]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and err[:-1].isprintable()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pt"]


@pytest.mark.parametrize("write", ["to_html", "to_markdown", "to_csv", "to_json"])
def test_reports_escape_names(write: str, checkpoint: Path, tmp_path: Path) -> None:
    spoilt(checkpoint, NAMES["script"], tmp_path / "net.pt")
    path = (tmp_path / "net.pt").rename(tmp_path / "<img src=x onerror=alert(1)>.pt")
    writer: Callable[[], Any] = getattr(igc.report(path), write)
    text = writer()
    if write in ("to_html", "to_markdown"):
        assert "<script" not in text and "<img" not in text
    if write == "to_json":
        assert json.loads(text)["outputs"] == [NAMES["script"]]
    spoilt(checkpoint, NAMES["formula"], tmp_path / "f.pt")
    if write == "to_csv":
        cells = [line.split(",")[1] for line in igc.report(tmp_path / "f.pt").to_csv().splitlines()]
        assert not [c for c in cells if c.lstrip('"')[:1] in ("=", "+", "-", "@")]


def test_modules_with_such_names_are_saved_and_told(tmp_path: Path) -> None:
    """A training script may use them as well: what is saved is what was named."""
    net = Tiny()
    hostile = NAMES["quotes"].replace(".", "_")
    net.add_module(hostile, copy.deepcopy(net.own))
    net.own = net.get_submodule(hostile)  # type: ignore[assignment]
    igc.save(net, tmp_path / "net.pt", torch.randn(2, 4))
    static = igc.compile(tmp_path / "net.pt")
    static.export(tmp_path / "src")
    assert torch.allclose(static(torch.ones(1, 4)), net.eval()(torch.ones(1, 4)))
    assert not list(tmp_path.rglob("PROOF"))
