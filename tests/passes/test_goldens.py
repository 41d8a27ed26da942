"""Eight small networks as text, before and after all passes, each on one screen.

Where a difference is meant, `IGC_UPDATE_GOLDENS=1 pytest tests/passes/test_goldens.py` writes the
files anew; read what changed in them. The names of nodes are those of the torch in constraints.txt.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from golden_nets import NETS, network
from in_text import assert_computes_the_same

from igc.capture import capture
from igc.compiler import compile_program
from igc.passes import PIPELINE, Pass, Record, run_passes, with_split_groups
from igc.program.parsing import parse
from igc.program.text import text

GOLDENS = Path(__file__).with_name("goldens")
SCREEN = 50  # lines
#: What no network that was captured has: a size that nothing reads.
DEAD = """\
program(x: f32[batch=2, 4]) f32
  n = sym_size.int(x, 0)
  y = relu(x)
  return y=y
"""


def pipeline(name: str) -> tuple[Pass, ...]:
    return with_split_groups() if name == "grouped" else PIPELINE


@pytest.mark.parametrize("name", NETS)
def test_the_programs_of_a_network_are_those_on_file(name: str) -> None:
    net, x = network(name)
    gated = capture(net, x)
    program, _ = compile_program(gated, pipeline(name))
    assert_computes_the_same(gated, program)
    found = f"{text(gated)}\n{text(program)}"
    assert len(found.splitlines()) <= SCREEN
    file = GOLDENS / f"{name}.txt"
    if os.environ.get("IGC_UPDATE_GOLDENS"):
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


def test_no_file_is_left_of_a_network_that_went() -> None:
    assert sorted(f.name for f in GOLDENS.iterdir()) == sorted(f"{name}.txt" for name in NETS)


def without(left_out: str | None) -> dict[str, str]:
    """What a pipeline makes of every golden's first program, one pass left out."""
    given = {n: (GOLDENS / f"{n}.txt").read_text(encoding="utf-8").split("\n\n")[0] for n in NETS}
    given["dead"] = DEAD
    return {
        name: text(
            run_passes(parse(source), Record(), tuple(
                each for each in pipeline(name) if each.name != left_out
            ))
        )
        for name, source in given.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def complete() -> dict[str, str]:
    return without(None)


@pytest.mark.parametrize("left_out", [each.name for each in with_split_groups()])
def test_a_pass_that_stops_firing_is_seen(left_out: str, complete: dict[str, str]) -> None:
    """Some golden differs without it: no pass does its work for another."""
    found = without(left_out)
    assert [name for name in found if found[name] != complete[name]]


def test_what_the_files_hold_is_what_their_text_compiles_to(complete: dict[str, str]) -> None:
    """Apart from numbers: where the text does not tell a constant, it is drawn."""
    for name in NETS:
        wanted = (GOLDENS / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[1]
        graph, _, _ = wanted.partition("  return ")
        assert complete[name].startswith(graph)
