"""One step of a measurement, in a process of its own.

    python -m benchmarks.bench_steps STEP FOLDER '{"spec": {...}, ...}'

`benchmarks.run` starts one such process per step, so that peak memory is the step's own, and
reads what the step found from the last line of its output. Networks that a step writes (as ONNX
and as `igc.save` files) lie in FOLDER, where later steps find them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn

import igc
from benchmarks import bench_papers
from benchmarks.bench_networks import Spec, chain, gated
from benchmarks.bench_timing import interleaved
from igc.analysis.cost import cost
from igc.compiler import compilation, compile_program, program_of
from igc.emit import emit
from igc.program import Program

#: What is timed against what; the names of the files, too.
ORDINARY = ("dense", "shared", "singles")
MEASURED = ("gated", "compiled", *ORDINARY)


class Clock:
    """Wall and processor seconds of each part, and the process's memory after it."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}

    def __call__(self, part: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.parts[part] = {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            **memory(),
        }
        return result


def memory() -> dict[str, float]:
    """Bytes in memory now and at most so far; empty where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    kilobytes = {"now": lines["VmRSS"], "peak": lines["VmHWM"]}
    return {name: 1024 * int(value.split()[0]) for name, value in kilobytes.items()}


def figures(program: Program) -> dict[str, int]:
    """MACs and FLOPs on one picture, parameters, and bytes of all constants."""
    found = cost(program)
    named = {"macs": found.macs, "flops": found.flops, "params": found.params}
    return {**named, "bytes": found.bytes}


def save(spec: Spec, folder: Path) -> dict[str, Any]:
    """Writes the gated checkpoint; its figures and the share of open gates per task."""
    net = gated(spec)
    igc.save(net, folder / "gated.pt", spec.of.image())
    by_task = {
        task: torch.cat([by[task].mask for by in net.gates.values()]).double().mean().item()
        for task in net.tasks
    }
    return {**figures(igc.load(folder / "gated.pt").to_program()), "open": by_task}


def compile_parts(spec: Spec, folder: Path) -> dict[str, Any]:
    """igc from module to verified ONNX file, part by part."""
    clock = Clock()
    net = clock("build", lambda: gated(spec))
    captured = clock("capture", lambda: program_of(net, spec.of.image()))
    program, record = clock("passes", lambda: compile_program(captured))
    static = clock("emit", lambda: emit(program))
    path = folder / "compiled.onnx"
    info = clock("onnx", lambda: igc.export_onnx(static, path))
    structure = clock("verify static", lambda: igc.verify(captured, static))
    file = clock("verify onnx", lambda: igc.verify(captured, path))
    static.save(folder / "compiled.pt")
    return {
        **figures(program),
        "parts": clock.parts,
        "passes": [{"name": row.name, "seconds": row.seconds} for row in record.rows],
        "nodes": info.nodes,
        "route": info.route,
        "verified": structure.passed and file.passed,
    }


def torch_export(spec: Spec, folder: Path) -> dict[str, Any]:
    """`torch.onnx.export` of the gated network as it is, static shapes: what igc is held against.

    The file is written as well, since the gated network in onnxruntime is that file.
    """
    clock = Clock()
    net = clock("build", lambda: gated(spec))
    inputs = (spec.of.image(),)
    made = clock("export", lambda: torch.onnx.export(net, inputs, dynamo=True, verbose=False))
    clock("write", lambda: made.save(str(folder / "gated.onnx")))
    return {"parts": clock.parts}


def ordinary(spec: Spec, folder: Path, macs: int) -> dict[str, Any]:
    """Writes the ordinary networks, through the same emitter as the compiled one."""
    family = spec.of
    width = family.width_for(macs)
    made: dict[str, Callable[[], nn.Module]] = {
        "dense": lambda: family.dense(width),
        "shared": lambda: family.dense(family.channels),
        "singles": family.singles,
    }
    found: dict[str, Any] = {"width": width}
    for name, build in made.items():
        static = igc.compile(build(), family.image())
        igc.export_onnx(static, folder / f"{name}.onnx")
        static.save(folder / f"{name}.pt")
        found[name] = figures(static.to_program())
    return found


def time_onnxruntime(spec: Spec, folder: Path, rounds: int, threads: list[int]) -> dict[str, Any]:
    """Seconds per picture of every network in onnxruntime, by number of threads."""
    feed = spec.of.image().numpy()
    samples = {}
    for number in threads:
        runs = {name: _session(folder / f"{name}.onnx", number, feed) for name in MEASURED}
        samples[number] = interleaved(runs, rounds)
    return {"samples": samples}


def _session(path: Path, threads: int, image: Any) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A session that spins while it waits doubles another one's time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)


def time_torch(spec: Spec, folder: Path, rounds: int, threads: list[int]) -> dict[str, Any]:
    """Seconds per picture of every network in eager torch; the gated one as it is trained."""
    image = spec.of.image()
    nets = {name: gated(spec) if name == "gated" else _load(folder, name) for name in MEASURED}
    runs: dict[str, Callable[[], Any]] = {
        name: (lambda net=net: net(image)) for name, net in nets.items()
    }
    samples = {}
    with torch.inference_mode():
        for number in threads:
            torch.set_num_threads(number)
            samples[number] = interleaved(runs, rounds)
    return {"samples": samples}


def _load(folder: Path, name: str) -> nn.Module:
    return igc.load(folder / f"{name}.pt").eval()


def scale(folder: Path, layers: int, tasks: int) -> dict[str, Any]:
    """Seconds of compiling and exporting one stack of `layers` gated layers for `tasks` tasks."""
    net = chain(layers, tasks)
    clock = Clock()
    made = clock("compile", lambda: compilation(net, torch.randn(1, 3, 8, 8)))
    clock("onnx", lambda: igc.export_onnx(made.static, folder / "scale.onnx"))
    return {"parts": clock.parts, "nodes": len(made.gated.graph.nodes)}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "save": save,
    "compile": compile_parts,
    "torch-export": torch_export,
    "ordinary": ordinary,
    "onnxruntime": time_onnxruntime,
    "torch": time_torch,
    "scale": scale,
    "paper": bench_papers.save,
}


def main(argv: list[str]) -> None:
    """Runs one step and prints what it found as one line of JSON, the last one."""
    step, folder, given = argv
    options = json.loads(given)
    if "spec" in options:
        options["spec"] = Spec(**options["spec"])
    found = STEPS[step](folder=Path(folder), **options)
    sys.stdout.flush()
    print(json.dumps(found), flush=True)
    os._exit(0)  # what is left is tearing down hundreds of megabytes


if __name__ == "__main__":
    main(sys.argv[1:])
