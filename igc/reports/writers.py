"""The formats of a report, by name: a further one is one function and one row here.

A writer takes what `Report.to_dict()` returns. The name is also the suffix of its files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from igc.errors import is_clean
from igc.reports.flat import flat
from igc.reports.html import html
from igc.reports.markdown import markdown

Writer = Callable[[Mapping[str, Any]], str]


def as_json(values: Mapping[str, Any]) -> str:
    """The values as JSON, with a final newline; what has no sign of its own is escaped."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if text.isascii():
        return text
    return "".join(c if c == "\n" or is_clean(c) else json.dumps(c)[1:-1] for c in text)


WRITERS: dict[str, Writer] = {"html": html, "md": markdown, "csv": flat, "json": as_json}


def format_of(path: Path) -> str:
    """The format that the suffix of a file names, empty for any other."""
    name = path.suffix.removeprefix(".")
    return name if name in WRITERS else ""
