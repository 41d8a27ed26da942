"""Is a program well-formed? Asked after every pass."""

from __future__ import annotations

from igc.errors import LintError, first_line
from igc.program.program import Program
from igc.program.shapes import other_sizes, shapes


def lint(program: Program, after: str) -> None:
    """Raise `LintError` unless the program is well-formed at two settings of its sizes."""
    named = {str(n.target) for n in program.graph.nodes if n.op == "get_attr"}
    missing = named - set(program.constants)
    if missing:
        raise LintError(f"after '{after}': constants {sorted(missing)} are missing")
    if len(program.output_nodes) != len(program.outputs):
        raise LintError(f"after '{after}': {len(program.output_nodes)} outputs are left")
    try:
        program.graph.lint()
        facts = shapes(program)
        if program.sizes:
            shapes(program, other_sizes(program))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        line = first_line(error)
        raise LintError(f"after '{after}': the graph does not run: {line}") from error
    for name, node in zip(program.outputs, program.output_nodes, strict=True):
        if facts[node].shape is None:
            raise LintError(f"after '{after}': output '{name}' is not a tensor")
