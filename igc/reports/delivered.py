"""A delivery as data: which files it writes, and what it found out on the way.

Nothing heavy is imported here: what is wrong with the names of files is told at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igc.certificate import manifest_path
from igc.errors import BadInput
from igc.files import check_writable, check_writable_folder
from igc.reports.writers import WRITERS, format_of

if TYPE_CHECKING:
    from igc.emit import OnnxInfo, StaticNetwork
    from igc.passes.record import Record, Row
    from igc.reports import Report
    from igc.verification import Check


@dataclass(frozen=True)
class Targets:
    """The files that one delivery writes; those that were not asked for are None."""

    onnx: Path
    torch: Path | None = None
    source: Path | None = None
    report: Path | None = None

    def named(self) -> dict[str, Path]:
        """Every file asked for by its name here, and the manifest, which is always written."""
        found = {
            "onnx": self.onnx,
            "manifest": manifest_path(self.onnx),
            "torch": self.torch,
            "source": self.source,
            "report": self.report,
        }
        return {name: path for name, path in found.items() if path is not None}

    def wrong(self, called: Mapping[str, str]) -> str:
        """Empty, or what is wrong with the names; `called` tells how the user knows each target."""
        if self.onnx.suffix != ".onnx":
            return f"{called['onnx']} {self.onnx} has to end in .onnx"
        if self.report is not None and not format_of(self.report):
            endings = ", ".join(f".{name}" for name in WRITERS)
            return f"{called['report']} {self.report} has to end in one of {endings}"
        taken: dict[Path, str] = {}
        for name, path in self.named().items():
            other = taken.setdefault(path.absolute(), name)
            if other != name:
                return f"{called[other]} and {called[name]} both name {path}; name two files"
        return ""

    def require_writable(self) -> None:
        """Raises `BadInput` for a place that cannot be written, before any long work."""
        for name, path in self.named().items():
            if name == "source":
                require_source_folder(path)
            else:
                check_writable(path)


def require_source_folder(folder: str | os.PathLike[str]) -> None:
    """Raises `BadInput` unless PyTorch source can be written into this folder, or a new one."""
    if os.fspath(folder).lower().endswith(".onnx"):
        raise BadInput(
            f"{folder}: this writes PyTorch source into a folder; igc.export_onnx(static, path) "
            "writes ONNX"
        )
    check_writable_folder(folder)


@dataclass(frozen=True)
class Delivery:
    """What `igc.deliver` did; true in a condition exactly when everything was written.

    `checkpoint` names what was compiled. `checks` holds the verdicts on "static", the static
    network, and "onnx", the file; none where nothing was to be proven. `model` tells of the ONNX
    file and `report` of the costs: both are None where a verdict is no, and nothing was written.
    """

    checkpoint: str
    targets: Targets
    static: StaticNetwork
    record: Record
    checks: Mapping[str, Check]
    seconds: float
    model: OnnxInfo | None = None
    report: Report | None = None

    @property
    def passed(self) -> bool:
        """Whether every verdict is yes."""
        return all(self.checks.values())

    def __bool__(self) -> bool:
        return self.passed

    @property
    def written(self) -> dict[str, Path]:
        """The files that were written, by the argument of `igc.deliver` that asked for them."""
        return self.targets.named() if self.passed else {}

    @property
    def passes(self) -> tuple[Row, ...]:
        """The passes that made the static network, in order."""
        return tuple(self.record.rows)

    @property
    def failure(self) -> str:
        """Empty, or in one line why nothing was written."""
        if self.passed:
            return ""
        odd = [n for check in self.checks.values() for n in check.notes if "not finite" in n]
        why = f"it cannot be compared: {odd[0]}" if odd else "this is a defect in igc: report it"
        return f"{self.checkpoint} and its compiled network differ, so nothing was written; {why}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "checkpoint": self.checkpoint,
            "passed": self.passed,
            "written": {name: str(path) for name, path in self.written.items()},
            "seconds": self.seconds,
            "verify": {name: check.to_dict() for name, check in self.checks.items()} or None,
            "report": None if self.report is None else self.report.to_dict(),
        }
