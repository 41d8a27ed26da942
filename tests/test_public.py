"""The public names, pinned."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import igc

NAMES = [
    "StaticNetwork", "__version__", "compile", "deliver", "explain", "export_onnx", "gate",
    "inspect", "load", "report", "save", "sparsity_loss", "verify",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert sorted(igc.__all__) == NAMES
    assert all(getattr(igc, name) is not None for name in NAMES)
    assert set(NAMES) <= set(dir(igc))


def test_no_module_has_the_name_of_what_its_package_offers() -> None:
    """Importing `igc.reports.explain`, were there one, would hide the function `explain`."""
    for package in [igc, *map(import_module, packages())]:
        modules = {name for _, name, _ in pkgutil.iter_modules(package.__path__)}
        assert not modules & set(getattr(package, "__all__", ())), package.__name__


def packages() -> list[str]:
    return [
        name for _, name, is_package in pkgutil.walk_packages(igc.__path__, "igc.") if is_package
    ]


def test_importing_igc_does_not_import_torch() -> None:
    code = "import sys, igc; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
