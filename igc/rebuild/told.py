"""What a model tells of how it was compiled: all that a rebuild reads of it.

It may tell what it likes: each of these entries is written anew too, and has to come out the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from igc.errors import BadInput
from igc.passes import with_split_groups
from igc.passes.tracing import pass_named

CONVERTED = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Told:
    """How to compile. `outputs` are the tasks asked for, as the file lists them, empty for all.

    `from_file`: the checkpoint's hash is named, as it is where a file and no module was compiled.
    `verified`: it says in which ways it was compared. The rest is as in `igc.compiler.compilation`
    and `igc.export_onnx`; `converted` is the type of `static.to(...)` behind it.
    """

    outputs: tuple[str, ...] = ()
    split_groups: bool = False
    stop_after: str | None = None
    converted: str | None = None
    simplified: bool = True
    from_file: bool = True
    verified: bool = False

    def options(self) -> dict[str, Any]:
        """Those of the compilation that are not as by default."""
        usual, named = Told(), ("split_groups", "stop_after", "converted")
        return {n: v for n in named if (v := getattr(self, n)) != getattr(usual, n)}


def told(model: onnx.ModelProto) -> Told:
    """What the metadata of `model` tells; what means nothing is as by default."""
    entries = {p.key: p.value for p in model.metadata_props}
    outputs, options = (_data(entries.get(f"igc.{key}")) for key in ("outputs", "options"))
    named = outputs if isinstance(outputs, list) else []
    given = options if isinstance(options, Mapping) else {}
    converted = given.get("converted")
    return Told(
        outputs=tuple(name for name in named if isinstance(name, str)),
        split_groups=given.get("split_groups") is True,
        stop_after=_pass(given.get("stop_after")),
        converted=converted if converted in CONVERTED else None,
        simplified=given.get("simplified") is not False,
        from_file="igc.source_sha256" in entries,
        verified="igc.verification" in entries,
    )


def _data(text: object) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _pass(name: object) -> str | None:
    """The name where there is such a pass."""
    try:
        return name if isinstance(name, str) and pass_named(name, with_split_groups()) else None
    except BadInput:
        return None
