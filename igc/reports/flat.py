"""The report as one flat CSV table, for spreadsheets and plots."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from igc.errors import clean
from igc.reports.words import compared

# Where one would begin; a few programs take the wide signs as well.
_FORMULA = re.compile(r"(?:^|(?<=;))(?=\s*[=+\-@＝＋－＠])")
HEAD = ("section", "name", "column", "macs", "flops", "params")


def flat(values: Mapping[str, Any]) -> str:
    """Lines of section (total, task alone, task needed, sharing, layer), name, column, figures."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for section, name, column, part in _rows(values):
        figures = (part["macs"], part["flops"], part["params"])
        writer.writerow((section, _cell(name), column, *figures))
    return out.getvalue()


def _rows(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for name, column in values["columns"].items():
        if column["available"]:
            yield "total", values["network"], name, column
    for column in compared(values):
        for row in values["tasks"]:
            yield "task alone", row["task"], column, row[column]["alone"]
            yield "task needed", row["task"], column, row[column]["needed"]
        for row in values["sharing"]:
            yield "sharing", " + ".join(row["tasks"]), column, row[column]
        for row in values["layers"]:
            yield "layer", row["layer"], column, row[column]


def _cell(text: str) -> str:
    """A name that no spreadsheet takes for a formula, also where it parts cells at semicolons."""
    return _FORMULA.sub("'", clean(text))
