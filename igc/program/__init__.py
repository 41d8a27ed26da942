"""The program: a graph over ATen ops with its tensors, which every pass reads and writes anew."""

from igc.program.program import InputSpec, Origin, Program

__all__ = ["InputSpec", "Origin", "Program"]
