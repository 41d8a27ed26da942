"""Sessions of onnxruntime, as igc runs them to check a file."""

from __future__ import annotations

import os
from typing import Any

import onnxruntime

QUIET = 4  # only fatal messages: what fails is raised


def session(model: str | os.PathLike[str] | bytes, level: Any = None, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU for a file or its bytes.

    `level` is the graph optimisation level (onnxruntime's own default where None), `threads` the
    number of threads inside an op (onnxruntime's default where 0).

    The runtime does not plan which buffers to use again. Its search compares every tensor with all
    free buffers, and where gates leave every layer its own width they rarely fit: it took 127 of
    130 s of loading a compiled HRNet-W18 with 8,119 nodes. The values are the same either way.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.enable_mem_reuse = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads:
        options.intra_op_num_threads = threads
    if level is not None:
        options.graph_optimization_level = level
    source = model if isinstance(model, bytes) else os.fspath(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
