"""Failing networks as plain data: one JSON file per case, replayed by a test.

A file holds the spec, what went wrong when it was found, and the seed that found it. No code is
read from it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from igc.testing.spec import Head, Node, Spec


@dataclass(frozen=True)
class Regression:
    """A network that once failed: `fault` is what it failed with, `found` where and how."""

    spec: Spec
    fault: str
    found: str


def to_data(spec: Spec) -> dict[str, Any]:
    """The spec as JSON data; what has its default value is left out."""
    plain = {f.name: getattr(spec, f.name) for f in fields(Spec)}
    defaults = {f.name: f.default for f in fields(Spec)}
    data = {k: v for k, v in plain.items() if v != defaults[k]}
    data["nodes"] = [_short(node) for node in spec.nodes]
    data["heads"] = [_short(head) for head in spec.heads]
    return data


def _short(part: Node | Head) -> dict[str, Any]:
    defaults = {f.name: f.default for f in fields(type(part))}
    return {k: v for k, v in asdict(part).items() if v != defaults[k]}


def from_data(data: Mapping[str, Any]) -> Spec:
    """The spec that `to_data` wrote. Raises `TypeError` on unknown fields."""
    nodes = tuple(Node(**{**n, "reads": tuple(n["reads"])}) for n in data["nodes"])
    heads = tuple(Head(**{**h, "reads": tuple(h["reads"])}) for h in data["heads"])
    rest = {k: v for k, v in data.items() if k not in ("nodes", "heads")}
    return Spec(nodes, heads, **rest)


def save(folder: Path, spec: Spec, fault: str, found: str) -> Path:
    """Writes the case to a file of its own in `folder`, named after the fault; its path."""
    data = {"fault": fault, "found": found, "spec": to_data(spec)}
    mark = hashlib.sha256(repr(spec).encode()).hexdigest()[:8]
    words = "-".join(re.findall(r"[a-z]+", fault.lower())[:5]) or "fault"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{words}-{mark}.json"
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path


def load(folder: Path) -> dict[str, Regression]:
    """Every case in `folder` by the name of its file, in order."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        found[path.stem] = Regression(from_data(data["spec"]), data["fault"], data["found"])
    return found
