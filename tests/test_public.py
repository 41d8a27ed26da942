"""The public names, pinned."""

from __future__ import annotations

import subprocess
import sys

import igc

NAMES = [
    "StaticNetwork", "__version__", "compile", "explain", "export_onnx", "gate", "inspect", "load",
    "report", "save", "sparsity_loss", "verify",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert sorted(igc.__all__) == NAMES
    assert all(getattr(igc, name) is not None for name in NAMES)
    assert set(NAMES) <= set(dir(igc))


def test_importing_a_submodule_does_not_hide_a_function() -> None:
    code = (
        "import igc, igc.compile, igc.report, igc.explain\n"
        "from igc.compile import compile_program\n"
        "assert callable(igc.compile) and callable(igc.report) and callable(igc.explain)\n"
        "assert igc.compile.__name__ == 'compile'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_igc_does_not_import_torch() -> None:
    code = "import sys, igc; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
