"""What compiling made, as a type that can be named without loading the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from igc.emit import StaticNetwork
    from igc.passes import Record
    from igc.program.program import Program


@dataclass(frozen=True)
class Compilation:
    """All that compiling made: the gated program, the static one, the module, the record."""

    gated: Program
    program: Program
    static: StaticNetwork
    record: Record
