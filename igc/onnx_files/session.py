"""Sessions of onnxruntime, as igc runs them to check a file."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime

from igc.errors import BadInput

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


MAX_SECONDS = 120.0  # for one run; networks take seconds


def run_bounded(session: Any, outputs: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
    """What the onnxruntime session computes, within MAX_SECONDS: a file may hold an endless loop.

    Raises `BadInput` when it takes longer, else what onnxruntime raises.
    """
    options = onnxruntime.RunOptions()
    overdue = threading.Event()

    def stop() -> None:
        overdue.set()
        options.terminate = True  # onnxruntime looks before every node, also inside loops

    timer = threading.Timer(MAX_SECONDS, stop)
    timer.daemon = True
    timer.start()
    try:
        found: list[Any] = session.run(list(outputs), dict(feed), options)
    except Exception:
        if overdue.is_set():
            raise BadInput(
                f"the ONNX file ran for more than {MAX_SECONDS:.0f} s: stopped"
            ) from None
        raise
    finally:
        timer.cancel()
    return found
