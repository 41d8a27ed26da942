"""What a user installs: both packages, the script, the version, the dependencies pinned."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from igc.version import __version__

ROOT = Path(__file__).resolve().parents[2]


def test_version_is_written_once() -> None:
    assert importlib.metadata.version("igc-compiler") == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_the_script_is_declared() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts", name="igc")
    assert [script.value for script in scripts] == ["igc_cli.main:main"]


def test_every_dependency_is_pinned() -> None:
    pinned = {
        re.split("==|;", line)[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    wanted = importlib.metadata.requires("igc-compiler") or []
    names = {
        re.split(r"[^\w.-]", line)[0]
        for line in wanted
        if "extra ==" not in line or re.search(r"extra == .(test|lint|demo-data).", line)
    }
    assert len(names) > 10
    assert names <= pinned


def test_makefile_explains_its_targets() -> None:
    text = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in ("install", "demo", "test", "bench", "lint", "clean"):
        assert re.search(rf"^  {target} +\w", text, re.MULTILINE), target


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_demo(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("igc", "cli"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("*.pyc"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    # Without build isolation, which would download setuptools for every run.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("igc_compiler-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    wanted = {f"igc/{path.relative_to(ROOT / 'igc')}" for path in (ROOT / "igc").rglob("*.py")}
    wanted |= {f"igc_cli/{path.name}" for path in (ROOT / "cli").glob("*.py")}
    wanted |= {f"igc/demo/data/{path.name}" for path in (ROOT / "igc/demo/data").iterdir()}
    assert packed == wanted | {"igc/py.typed", "igc_cli/py.typed"}
