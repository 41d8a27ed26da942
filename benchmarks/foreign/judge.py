"""One network, gated, compiled and verified in this process."""

from __future__ import annotations

import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

import igc
from benchmarks.foreign import gating, minimum
from benchmarks.foreign.catalog import Entry, build
from igc.compiler import compilation
from igc.emit import emit
from igc.emit.torch.static import retype
from igc.testing.oracle import compare_outputs, draw_inputs, relative_error

TOLERANCE = 1e-10
OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive", "bad_alloc")

Found = dict[str, Any]


def judge(
    entry: Entry,
    at: str,
    *,
    draws: int,
    onnx: bool,
    kept: int,
    tell: Callable[[Found], None] = lambda _: None,
) -> Found:
    """What became of the network: see `verdict` in `benchmarks.foreign.table`.

    `stage` is the last step begun. What ended it, where anything did, is `error`, or `limit`
    where this machine did; `tell` is called with what is known at the start of each step.
    """
    found: Found = {"key": entry.key, "family": entry.family, "at": at, "note": ""}
    spent: dict[str, float] = {}
    start = began = time.process_time()
    try:
        for stage, values in _stages(entry, at, draws, onnx, kept):
            spent[found.get("stage", "start")] = round(time.process_time() - began, 1)
            began = time.process_time()
            found |= {"stage": stage, **values}
            tell(found)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
            found["limit"] = "the limit of memory"
        else:
            found |= {"error": text[:600], "trace": traceback.format_exc()[-3000:]}
    found["cpu_by_stage"] = spent
    found["cpu_seconds"] = round(time.process_time() - start, 1)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def _stages(entry: Entry, at: str, draws: int, onnx: bool, kept: int) -> Iterator[Any]:
    """(the stage that comes next, what the one before found), in order."""
    yield "build", {}
    backbone, inputs, note = build(entry, kept)
    gating.settle(backbone, inputs)
    yield "gate", {"size": inputs[0].shape[-1], "torch": torch.__version__, "note": note}
    net = gating.gated(backbone, inputs, at)
    parameters = sum(p.numel() for p in net.parameters())
    yield "compile", {"points": len(net.gates), "parameters": parameters}
    made = compilation(net, inputs)
    # Folded constants are float64 in the program: in that type nothing has been rounded.
    static, exact = emit(made.program, torch.float64), tuple(x.double() for x in inputs)
    net.double()
    remarks = [vars(r) for r in made.record.remarks]
    yield "agree", {"remarks": remarks, "static": sum(p.numel() for p in made.static.parameters())}
    generator, errors = torch.Generator().manual_seed(1), []
    for batch in (1, 3):
        args = draw_inputs(exact, generator, batch=batch)
        with torch.no_grad(), AllDouble():
            want, have = net(*args), static(*args)
        errors += [relative_error(want[task], have[task]) for task in net.tasks]
        sway = min(_sway(want[task]) for task in net.tasks)
        compare_outputs(want, have, TOLERANCE, f"batch {batch}")
    repeated = minimum.repeated(made.program, made.gated)
    tables = {name for name, _ in net.named_buffers()}
    counts = {"held": minimum.held(made.program, tables), "repeated": repeated}
    yield "onnx", {"error64": max(errors), "sway": sway, **counts}
    checked = _onnx(made) if onnx else {}
    yield "minimum", checked
    held = counts["held"] - repeated
    if not draws:
        yield "done", {}
        return
    needed = minimum.needed(net, backbone, exact, draws, made.program, held)
    yield "done", {"needed": needed}


class AllDouble(TorchFunctionMode):
    """Within, what asks for float32 gets float64: position tables, often, and casts to be safe."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args, kwargs = tree_map(_double, (args, kwargs or {}))
        return func(*args, **kwargs)


def _double(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def _sway(output: torch.Tensor) -> float:
    """How far an output moves from one input of the batch to the next, over its largest value."""
    output = output.detach()
    return float((output - output[:1]).abs().max() / output.abs().max())


def _onnx(made: Any) -> Found:
    """The float32 static network as ONNX, verified against the gated one."""
    static = emit(made.program, torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        info = igc.export_onnx(static, path, simplify=False)
        check = igc.verify(retype(made.gated, torch.float32), path)
    failures = [] if check.passed else [str(check)[:600]]
    return {"onnx": check.passed, "route": info.route, "reason": info.reason, "failures": failures}
