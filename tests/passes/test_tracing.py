"""What the passes make is printed and dumped, pass by pass, and a run can stop in between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from in_text import assert_computes_the_same

from igc.compiler import compile_program
from igc.errors import BadInput, LintError
from igc.passes import PIPELINE, Record, with_split_groups
from igc.passes.tracing import Tracer, pass_named, slug, stages
from igc.program import Program
from igc.program.parsing import parse
from igc.program.text import text

SOURCE = """\
program(x: f32[batch=2, 4]) f32
  hard = gt.Scalar(@alpha, 0)
  gate = _to_copy(hard, dtype=torch.float32)
  y = linear(x, @weight)
  masked = mul.Tensor(y, gate)
  z = linear(masked, @head)
  return z=z
  @alpha f32[3] 1 -1 2
  @weight f32[3, 4]
  @head f32[2, 3]
"""


def traced(words: list[str], folder: Path | None = None, stop_after: str | None = None) -> str:
    shown: list[str] = []
    tracer = Tracer(stages(words, PIPELINE), shown.append, folder)
    compile_program(parse(SOURCE), after=tracer, stop_after=stop_after)
    return "".join(shown)


def test_the_programs_asked_for_are_shown_in_order() -> None:
    shown = traced(["slice-channels", "captured"])
    assert shown.startswith("# captured\nprogram(x: f32[batch=2, 4]) f32\n  hard = gt.Scalar(")
    first, second = shown.split("# after slice-channels\n")
    assert text(parse(first, parse(SOURCE).constants)) == text(parse(SOURCE))
    assert "mul.Tensor" not in second
    assert_computes_the_same(parse(SOURCE), parse(second))


def test_all_shows_every_pass_and_says_which_changed_nothing() -> None:
    titles = [line for line in traced(["all"]).splitlines() if line.startswith("#")]
    assert titles == [
        "# captured",
        "# after fold-constants",
        "# after spell-out-writes, which changed nothing",
        "# after spell-out-stacks, which changed nothing",
        "# after slice-channels",
        *(f"# after {slug(each.name)}, which changed nothing" for each in PIPELINE[4:]),
    ]


def test_every_program_is_dumped_under_its_number(tmp_path: Path) -> None:
    assert traced([], tmp_path / "dump", stop_after="slice-channels") == ""
    names = ["00-captured", "01-fold-constants", "02-spell-out-writes", "03-spell-out-stacks",
             "04-slice-channels"]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "dump").iterdir()) == [f"{n}.txt" for n in names]
    for name in names:
        assert_computes_the_same(parse(SOURCE), parse((tmp_path / f"dump/{name}.txt").read_text()))


@dataclass(frozen=True)
class Break:
    name: str = "break"

    def __call__(self, program: Program, record: Record) -> Program:
        return parse("program(x: f32[batch=2, 4]) f32\n  y = reshape(x, [7])\n  return z=y")


def test_a_program_that_a_pass_has_broken_is_dumped_before_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LintError, match="after 'break'"):
        compile_program(parse(SOURCE), (Break(),), Tracer([], print, tmp_path))
    assert "reshape(x, [7])" in (tmp_path / "01-break.txt").read_text()


def test_names_are_spelt_either_way_and_unknown_ones_listed() -> None:
    assert pass_named("merge-duplicates", PIPELINE) == "merge duplicates"
    assert stages(["merge duplicates", "captured"], PIPELINE) == {"merge duplicates", "captured"}
    assert stages(["split-groups"], with_split_groups()) == {"split groups"}
    with pytest.raises(BadInput) as caught:
        stages(["captured", "split-groups"], PIPELINE)
    assert str(caught.value) == (
        "no pass is named 'split-groups'; there are all, captured, fold-constants, "
        "spell-out-writes, spell-out-stacks, slice-channels, fold-what-is-left, fold-batch-norm, "
        "merge-duplicates, "
        "choose-layout, move-gathers-first, remove-dead-nodes, order-for-memory"
    )
    with pytest.raises(BadInput, match="no pass is named 'captured'; there are fold-constants,"):
        pass_named("captured", PIPELINE)


def test_a_dump_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="it is not a folder"):
        Tracer([], print, tmp_path / "file")
