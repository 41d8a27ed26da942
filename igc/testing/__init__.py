"""Judges and generators for compilers of gated networks, independent of igc's own engine.

`oracle` measures what a gated network needs and compares two networks; `networks` builds gated
networks in every idiom from a printable `Spec`; `strategies` (needs the optional package
hypothesis, so it is not imported here) draws random ones.
"""

from __future__ import annotations

from igc.testing.builder import GatedNetwork, build
from igc.testing.judge import check, compile_double
from igc.testing.networks import ARCHITECTURES, architecture
from igc.testing.oracle import (
    assert_equal,
    assert_minimal,
    kernel_elements,
    needed_elements,
)
from igc.testing.spec import Head, Node, Spec

__all__ = [
    "ARCHITECTURES",
    "architecture",
    "assert_equal",
    "assert_minimal",
    "build",
    "check",
    "compile_double",
    "GatedNetwork",
    "Head",
    "kernel_elements",
    "needed_elements",
    "Node",
    "Spec",
]
