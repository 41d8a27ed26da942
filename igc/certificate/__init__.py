"""The certificate beside a model: how each of its tensors is made of the checkpoint's."""

from __future__ import annotations

from pathlib import Path


def manifest_path(model: Path) -> Path:
    """Where the manifest of a model lies: model.onnx -> model.manifest.json."""
    return model.with_suffix(".manifest.json")
