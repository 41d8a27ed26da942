"""One network, gated, compiled and verified in this process; prints what came out as JSON."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch

import igc
from benchmarks.foreign import gating, minimum
from benchmarks.foreign.catalog import Entry, build
from igc.compile import compilation
from igc.emit import emit
from igc.emit.static import retype
from igc.testing.oracle import compare_outputs, draw_inputs, relative_error

TOLERANCE = 1e-10


def judge(entry: Entry, at: str, *, draws: int, onnx: bool) -> dict[str, Any]:
    """What became of the network: see `verdict` in `benchmarks.foreign.table`.

    `stage` is the last step begun; `error`, where there is one, what ended it.
    """
    found: dict[str, Any] = {"key": entry.key, "family": entry.family, "at": at, "note": entry.note}
    spent: dict[str, float] = {}
    began = time.process_time()
    try:
        for stage, values in _stages(entry, at, draws, onnx):
            spent[found.get("stage", "start")] = round(time.process_time() - began, 1)
            began = time.process_time()
            found |= {"stage": stage, **values}
    except Exception as error:
        found["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:600]
        found["trace"] = traceback.format_exc()[-3000:]
    found["cpu_by_stage"] = spent
    found["cpu_seconds"] = round(time.process_time(), 1)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def _stages(entry: Entry, at: str, draws: int, onnx: bool) -> Any:
    """(the stage that comes next, what the one before found), in order."""
    yield "build", {}
    backbone, inputs = build(entry)
    gating.settle(backbone, inputs)
    yield "gate", {"size": inputs[0].shape[-1], "torch": torch.__version__}
    net = gating.gated(backbone, inputs, at)
    parameters = sum(p.numel() for p in net.parameters())
    yield "compile", {"points": len(net.gates), "parameters": parameters}
    net.double()
    exact = tuple(x.double() for x in inputs)
    made = compilation(net, exact)
    remarks = [vars(r) for r in made.record.remarks]
    yield "agree", {"remarks": remarks, "static": sum(p.numel() for p in made.static.parameters())}
    generator, errors = torch.Generator().manual_seed(1), []
    for batch in (1, 3):
        args = draw_inputs(exact, generator, batch=batch)
        with torch.no_grad():
            want, have = net(*args), made.static(*args)
        errors += [relative_error(want[task], have[task]) for task in net.tasks]
        spread = min(float(want[task].std()) for task in net.tasks)
        compare_outputs(want, have, TOLERANCE, f"batch {batch}")
    yield "minimum", {"error64": max(errors), "spread": spread}
    repeated = minimum.repeated(made.program, made.gated)
    counts: dict[str, Any] = {"held": minimum.held(made.program), "repeated": repeated}
    if draws:
        try:
            counts["needed"] = minimum.needed(net, backbone, exact, draws)
        except RuntimeError as error:  # torch's way to say that memory ran out
            if "memory" not in str(error):
                raise
    yield "onnx", counts
    if onnx:
        yield "done", _onnx(made)
    yield "done", {}


def _onnx(made: Any) -> dict[str, Any]:
    """The float32 static network as ONNX, verified against the gated one."""
    static = emit(made.program, torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        info = igc.export_onnx(static, path, simplify=False)
        check = igc.verify(retype(made.gated, torch.float32), path)
    failures = [] if check.passed else [str(check)[:600]]
    return {"onnx": check.passed, "route": info.route, "reason": info.reason, "failures": failures}


def main() -> None:
    """`python -m benchmarks.foreign.judge JSON`: the last line printed is the result."""
    task = json.loads(sys.argv[1])
    limit = int(task["memory_gib"] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (task["seconds"], task["seconds"] + 5))
    torch.set_num_threads(1)
    found = judge(Entry(**task["entry"]), task["at"], draws=task["draws"], onnx=task["onnx"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
