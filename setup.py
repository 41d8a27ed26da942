"""Adds to pyproject.toml the one thing it cannot say: find igc's packages *and* map cli/.

The folder cli/ ships as `igc_cli`, because a top-level package named `cli` would collide in
users' environments. Declared in pyproject.toml, such a mapping rules out automatic discovery.
"""

from __future__ import annotations

from setuptools import find_packages, setup

setup(
    packages=["igc", "igc_cli", *find_packages(include=["igc.*"])],
    package_dir={"igc": "igc", "igc_cli": "cli"},
)
