"""The tools whose versions a compiled model may depend on, as the manifest lists them."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

from igc.version import __version__

TOOLS = ("torch", "numpy", "onnx", "onnxruntime", "onnxsim")


def installed() -> dict[str, str]:
    """The versions at hand, by tool; igc and Python first."""
    return {"igc": __version__, "python": platform.python_version(), **_foreign()}


@cache
def _foreign() -> dict[str, str]:
    return {tool: version(tool) for tool in TOOLS}
