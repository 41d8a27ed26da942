"""What compiling made, as a type that can be named without loading the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from igc.emit.torch.static import StaticNetwork
from igc.program import Program

if TYPE_CHECKING:  # an audit loads no pass
    from igc.passes.record import Record


@dataclass(frozen=True)
class Compilation:
    """All that compiling made: the gated program, the static one, the module, the record."""

    gated: Program
    program: Program
    static: StaticNetwork
    record: Record
