"""What a stranger named never reaches the terminal, a page or a table as anything but text."""

from __future__ import annotations

import copy
import csv
import functools
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from tiny import Tiny

import igc
from igc.capture import capture
from igc.errors import clean, is_clean
from igc.reports import Report, report
from igc_cli import common, render
from igc_cli.main import run

HIDDEN = {
    "escape sequence": "a\x1b[2Jb",
    "eight bits": "a\x9b2Jb",
    "bell": "a\x07b",
    "return": "a\rb",
    "right to left": "a\u202etxt.b",
    "isolate": "a\u2066b\u2069",
    "mark": "a\u200eb",
    "no width": "a\u200bb",
    "joiner": "a\u200db",
    "byte order": "\ufeffab",
    "soft hyphen": "a\u00adb",
    "tags": "a\U000e0041b",
    "private": "a\ue000b",
    "lone": "a\udcffb",
    "separator": "a\u2028b",
}
MARKUP = (
    '</td><script>alert(1)</script>', "a | b", "`x`", "[x](javascript:alert(1))", "<!-- x",
    "&lt;b&gt;", "$x$", "~~x~~", '" onload="x', "<![CDATA[ x ]]>",
)  # fmt: skip
FORMULAS = ("=cmd()", "+1", "-1", "@x", "\t=1", " =1", "a;=cmd()", "＝1", "a; -1")


@functools.cache
def named(name: str) -> Report:
    """The report of a network whose outputs, layers and tasks are called so."""
    program = capture(Tiny().eval(), (torch.ones(2, 4),))
    for node in program.graph.nodes:
        node.meta["layer"] = name
    changed = replace(program, outputs=(name,), gates={name: {name: "alpha"}})
    return replace(report(changed), network=f"{name}.pt", warnings=(f"of {name}",))


@pytest.mark.parametrize("case", HIDDEN)
def test_what_nobody_would_see_is_not_clean_and_is_escaped(case: str) -> None:
    assert not is_clean(HIDDEN[case])
    shown = clean(HIDDEN[case])
    assert shown.isprintable() and shown.isascii() and "\\" in shown


@pytest.mark.parametrize(
    "text", ["seg", "Straße", "深度", "分割 x", "déjà-vu", "глубина", "→ 3 × 3"]
)
def test_names_of_all_languages_are_clean(text: str) -> None:
    assert is_clean(text) and clean(text) == text


@pytest.mark.parametrize("how", ["html", "md", "csv", "json"])
@pytest.mark.parametrize("case", HIDDEN)
def test_no_format_holds_it_raw(case: str, how: str) -> None:
    text = named(HIDDEN[case]).text(how)
    assert is_clean(text.replace("\n", ""))
    if how == "json":
        assert json.loads(text)["outputs"] == [HIDDEN[case]]


@pytest.mark.parametrize("case", HIDDEN)
def test_the_terminal_sees_none_of_it(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = HIDDEN[case]
    values = named(name).to_dict()
    render.report(values)
    render.inspection({
        "network": name, "tasks": [name], "open": {name: 0.5}, "warnings": [name],
        "gates": {name: {name: {"share": 0.5, "open": 1, "channels": 2}}},
        "mixes": {name: {name: 0.5}},
    })  # fmt: skip
    render.compiled({"report": values, "written": {"onnx": Path(name)}}, [name])
    common.say(name)
    common.tell([name])
    common.print_json({name: name})
    out, err = capsys.readouterr()
    assert is_clean((out + err).replace("\n", ""))
    assert "a" in out


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("name", MARKUP)
def test_markup_is_text(name: str) -> None:
    plain, made = named("plain"), named(name)
    page = Tags(made.to_html())
    assert page.found == Tags(plain.to_html()).found
    assert name in page.text
    markdown = made.to_markdown()
    assert "<" not in markdown
    assert not re.search(r"(?<!\\)[`$~\[\]]", markdown)
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines()]
    assert bars == [line.count("|") for line in plain.to_markdown().splitlines()]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_begins_a_formula(name: str) -> None:
    text = named(name).to_csv()
    for delimiter in ",;":
        cells = [c for row in csv.reader(io.StringIO(text), delimiter=delimiter) for c in row]
        assert not [c for c in cells if c.strip()[:1] in tuple("=+-@＝＋－＠")]
    assert named("a-b=c+d@e").to_csv().count("a-b=c+d@e") > 3


def test_without_cleaning_it_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("igc.errors.clean", str)
    common.say(HIDDEN["right to left"])
    assert not is_clean(capsys.readouterr().out.strip())


COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "report": lambda pt, onnx: ["report", str(pt)],
    "report as CSV": lambda pt, onnx: ["report", str(pt), "--format", "csv"],
    "report as JSON": lambda pt, onnx: ["report", str(pt), "--format", "json"],
    "report of ONNX": lambda pt, onnx: ["report", str(onnx)],
    "inspect": lambda pt, onnx: ["inspect", str(pt)],
    "explain": lambda pt, onnx: ["explain", str(pt)],
    "verify": lambda pt, onnx: ["verify", str(pt), str(onnx)],
    "verify as JSON": lambda pt, onnx: ["verify", str(pt), str(onnx), "--json"],
    "audit": lambda pt, onnx: ["audit", str(onnx), "--against", str(pt)],
    "compile": lambda pt, onnx: ["compile", str(pt), "--out", str(onnx)],
    "no such option": lambda pt, onnx: ["report", f"--{pt.name}"],
    "no such file": lambda pt, onnx: ["report", f"{pt}.none"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", ["escape sequence", "right to left", "lone"])
def test_names_of_files_are_escaped(
    case: str,
    command: str,
    checkpoint: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pt, onnx = tmp_path / f"{HIDDEN[case]}.pt", tmp_path / f"{HIDDEN[case]}.onnx"
    shutil.copy(checkpoint, pt)
    shutil.copy(model, onnx)
    manifest = model.with_suffix(".manifest.json")
    if manifest.exists():
        shutil.copy(manifest, onnx.with_suffix(".manifest.json"))
    run(COMMANDS[command](pt, onnx))
    out, err = capsys.readouterr()
    assert out + err
    assert is_clean((out + err).replace("\n", ""))


def test_a_traceback_is_cleaned_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IGC_DEBUG", "1")
    assert run(["report", "a\x1b[2J\u202e.pt"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and is_clean(err.replace("\n", ""))


def test_a_module_with_such_a_name_is_not_saved(tmp_path: Path) -> None:
    """What could not be read back is not written."""
    net = Tiny()
    net.add_module("a\u202eb", copy.deepcopy(net.own))
    net.own = net.get_submodule("a\u202eb")  # type: ignore[assignment]
    with pytest.raises(igc.errors.BadInput, match="unprintable"):
        igc.save(net, tmp_path / "net.pt", torch.ones(2, 4))
    assert not list(tmp_path.iterdir()) and sys.stdout is not None
