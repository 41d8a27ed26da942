"""The report as data and in every format."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from report_nets import AREA, WIDTH, Gated, Plain, picture

from igc.capture import capture
from igc.compiler import compile_program
from igc.emit import emit
from igc.errors import BadInput
from igc.program import Program
from igc.reports import Report, over_budget, report

CHANNEL = 27 * AREA
HEAD = WIDTH * 2
EVIL = '</td><script>alert("1")</script>|`*\n=x'


@pytest.fixture(scope="session")
def made(gated: Program) -> Report:
    return report(gated)


@pytest.fixture(scope="session")
def evil() -> Report:
    program = capture(Gated({"seg": [0], "depth": [1]}).eval(), picture())
    gates = {EVIL: {EVIL: program.gates["conv"]["seg"]}}
    for node in program.graph.nodes:
        node.meta["layer"] = EVIL
    return report(replace(program, outputs=(EVIL, "depth"), gates=gates))


def test_columns_by_hand(made: Report) -> None:
    values = made.to_dict()
    macs = {name: column["macs"] for name, column in values["columns"].items()}
    assert macs == {
        "gated": 3 * WIDTH * CHANNEL + 2 * HEAD,
        "static": (4 + 2 + 1) * CHANNEL + 2 * HEAD,
        "all_open": 2 * WIDTH * CHANNEL + 2 * HEAD,
        "all_closed": WIDTH * CHANNEL + 2 * HEAD,
    }
    assert values["total"] == values["columns"]["static"]
    assert values["schema"] == 1
    assert values["gates"] == {"conv": {"seg": 0.5, "depth": 0.25}}
    assert values["passes"][0]["name"] == "fold constants"
    assert "seconds" not in json.dumps(values)


def test_tasks_and_sharing_by_hand(made: Report) -> None:
    values = made.to_dict()
    (seg, depth) = values["tasks"]
    assert seg["static"]["alone"]["macs"] == 2 * CHANNEL + HEAD
    assert seg["static"]["needed"]["macs"] == 6 * CHANNEL + HEAD
    assert depth["static"]["alone"]["macs"] == CHANNEL + HEAD
    sets = {tuple(row["tasks"]): row["static"]["macs"] for row in values["sharing"]}
    assert sum(sets.values()) == values["total"]["macs"]
    assert sum(row["static"]["macs"] for row in values["layers"]) == values["total"]["macs"]
    assert (
        sum(row["gated"]["params"] for row in values["layers"])
        == (values["columns"]["gated"]["params"])
    )


def test_static_network_given_or_compiled_gives_the_same(gated: Program, made: Report) -> None:
    static = emit(compile_program(gated)[0])
    again = report(gated, static)
    assert again.to_dict()["columns"] == made.to_dict()["columns"]
    alone = report(static).to_dict()
    assert list(alone["columns"]) == ["static"]
    assert alone["total"]["macs"] == made.to_dict()["total"]["macs"]


def test_fewer_tasks_are_compared_with_references_of_the_same_tasks(gated: Program) -> None:
    from igc.compiler import compilation

    static = compilation(gated, tasks=["seg"]).static
    values = report(gated, static).to_dict()
    assert values["outputs"] == ["seg"]
    assert values["columns"]["all_open"]["macs"] == WIDTH * CHANNEL + HEAD
    assert values["columns"]["all_closed"]["macs"] == WIDTH * CHANNEL + HEAD
    assert values["total"]["macs"] == WIDTH * CHANNEL + HEAD


def test_unknown_gates_are_said_to_be_unknown() -> None:
    made = report(capture(Plain().eval(), picture()))
    columns = made.to_dict()["columns"]
    assert columns["all_open"]["available"] is False
    assert "not known" in columns["all_open"]["why"]
    assert "not available" in made.to_markdown()
    assert "not available" in made.to_html()


def test_a_plain_module_needs_its_static_network(gated: Program, made: Report) -> None:
    module = Gated({"seg": [0, 2], "depth": [1]}).eval()
    with pytest.raises(BadInput, match="input shapes"):
        report(module)
    static = emit(compile_program(gated)[0])
    assert report(module, static).to_dict()["columns"] == made.to_dict()["columns"]


def test_same_network_same_bytes(gated: Program, made: Report) -> None:
    again = report(gated)
    assert again.to_json() == made.to_json()
    assert again.to_html() == made.to_html()
    assert again.to_csv() == made.to_csv()
    assert again.to_markdown() == made.to_markdown()
    assert json.loads(made.to_json()) == made.to_dict()


def test_csv_reads_back(made: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    total = {r["column"]: int(r["macs"]) for r in rows if r["section"] == "total"}
    assert total["static"] == made.cost.macs
    layers = [int(r["flops"]) for r in rows if (r["section"], r["column"]) == ("layer", "static")]
    assert sum(layers) == made.cost.flops


def test_markdown_tables_are_well_formed(made: Report, evil: Report) -> None:
    for text in (made.to_markdown(), evil.to_markdown()):
        widths = []
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            widths.append(cells)
        for a, b in itertools.pairwise(widths):
            assert not (a and b) or a == b
        for word in ("MACs", "FLOPs", "parameters"):
            assert word in text
    assert "<script>" not in evil.to_markdown()


class Strict(HTMLParser):
    """Collects tags and attributes; fails on a page that does not nest."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> Strict:
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_html_stands_alone_and_nests(made: Report) -> None:
    found = parsed(made.to_html())
    tags = {tag for tag, _ in found.seen}
    assert not tags & {"script", "img", "link", "iframe", "object", "form"}
    names = {name for _, attributes in found.seen for name in attributes}
    assert not names & {"src", "href", "onload", "onclick"}
    assert "url(" not in made.to_html()
    text = "".join(found.text)
    for word in ("Gate map", "MACs per layer", "50%", "25%", "all open", "all closed"):
        assert word in text


def test_html_shows_names_as_text(evil: Report) -> None:
    found = parsed(evil.to_html())
    assert "script" not in {tag for tag, _ in found.seen}
    assert EVIL.split("\n")[0] in "".join(found.text)


def test_csv_holds_no_formula(evil: Report, gated: Program) -> None:
    made = report(replace(gated, outputs=("=1+1", "+x")))
    rows = list(csv.reader(io.StringIO(made.to_csv())))
    assert all(cell[:1] not in ("=", "+", "@") for row in rows for cell in row)
    names = {row[1] for row in csv.reader(io.StringIO(evil.to_csv()))}
    assert EVIL in names


def test_budgets(made: Report) -> None:
    macs, params = made.cost.macs, made.cost.params
    assert over_budget(made, macs, params) == []
    assert over_budget(made) == []
    (line,) = over_budget(made, max_macs=macs - 1)
    assert "MACs" in line
    assert len(over_budget(made, 1, 1)) == 2


def test_files_are_listed_with_their_sizes(gated: Program, tmp_path: Path) -> None:
    path = tmp_path / "gated.pt"
    path.write_bytes(b"x" * 2048)
    made = report(gated, files={"gated": path}, references=False)
    assert made.to_dict()["columns"]["gated"]["files"] == {"gated.pt": 2048}
    assert "gated.pt 2 KiB" in made.to_markdown()
    with pytest.raises(BadInput, match="no such file"):
        report(gated, files={"gated": tmp_path / "none.pt"})
    with pytest.raises(BadInput, match="'other'"):
        report(gated, files={"other": path})


def test_gates_that_save_nothing_are_told(gated: Program) -> None:
    from report_nets import Bottleneck

    program = capture(Bottleneck([0]).eval(), picture())
    made = report(program)
    assert any("one open channel" in w for w in made.warnings)
    assert any("one open channel" in line for line in made.to_markdown().splitlines())
    assert report(gated).warnings == ()


def test_the_reference_gates_are_forced_not_guessed(gated: Program) -> None:
    from igc.program.gates import with_gates

    opened, closed = with_gates(gated, opened=True), with_gates(gated, opened=False)
    names = set(gated.gates["conv"].values())
    assert all(bool((opened.constants[n] > 0).all()) for n in names)
    assert all(bool((closed.constants[n] < 0).all()) for n in names)
    assert all(v is gated.constants[k] for k, v in opened.constants.items() if k not in names)
    assert torch.equal(
        gated.constants["gates.conv.seg.alpha"], torch.tensor([1.0, -1.0, 1.0, -1.0])
    )
