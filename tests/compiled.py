"""A network that is compiled, and captured no more than once."""

from __future__ import annotations

from typing import Any

from torch import nn

from igc.capture import Example
from igc.compiler import compilation
from igc.emit.compilation import Compilation


def compiled(net: nn.Module, inputs: Example, **options: Any) -> Compilation:
    """What `compilation` makes of it; the network keeps the captured program, as loaded ones do.

    `igc.verify` then does not capture it once more, which is most of the time that a test takes.
    """
    made = compilation(net, inputs, **options)
    net.program = made.gated
    return made
