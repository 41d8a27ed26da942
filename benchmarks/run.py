"""Measures what compiling gives: `make bench`, or

    python -m benchmarks.run [--quick] [--only NAME ...] [--papers] [--repeats N] [--out DIR]

Side by side, in interleaved rounds: the gated network, the compiled one, and three ordinary ones
(dense with as many MACs as the compiled one, uniform sharing, single-task networks), in
onnxruntime and in torch, with one and two threads; compile time against `torch.onnx.export` of
the gated network; peak memory against its size; file sizes: latest.json and latest.md. Then what
the papers' networks take to compile, and compile time against layers and tasks: papers.json and
papers.md; `--papers` measures these alone. benchmarks/README.md says how to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.bench_children import ROOT, Failed, igc_compile, step
from benchmarks.bench_scaling import scaling
from benchmarks.bench_tables import markdown
from benchmarks.bench_timing import ratio, spread

Json = dict[str, Any]

NETWORKS: dict[str, Json] = {
    "demo": {"family": "resnet20", "at": "layer", "share": 0.3, "shipped": True},
    "resnet18-layer-10": {"family": "resnet18", "at": "layer", "share": 0.1},
    "resnet18-layer-30": {"family": "resnet18", "at": "layer", "share": 0.3},
    "resnet18-layer-50": {"family": "resnet18", "at": "layer", "share": 0.5},
    "resnet18-block-30": {"family": "resnet18", "at": "block", "share": 0.3},
}
QUICK = ("demo", "resnet18-layer-30")
#: The papers' networks at full size (`benchmarks.bench_papers`): compiled, not timed.
PAPERS = (
    "mobilenetv2-aspp-2", "resnet18-aspp-5", "resnet50-aspp-3", "hrnet18-3", "dpt-base-3",
)  # fmt: skip
#: In papers.json: the papers' networks, and compile time against the size of a network.
COMPILED = (*PAPERS, "scaling")
#: Not in a run of its own accord: the smoke test's, whose process is also memory's baseline.
TINY: Json = {"family": "tiny", "at": "block", "share": 0.5}

ROUNDS, QUICK_ROUNDS = 40, 5
COMPILES = {"resnet20": 3}  # compile runs, where one does not take long
THREADS = (1, 2)
FILES = ("gated.pt", "gated.onnx", "compiled.pt", "compiled.onnx", "dense.onnx", "shared.onnx",
         "singles.onnx")  # fmt: skip


def measure(name: str, spec: Json, rounds: int, compiles: int, folder: Path, empty: Json) -> Json:
    """All figures of one gated network; `folder` takes its files."""
    say(f"{name}: compile")
    gated = step("save", folder, spec=spec)
    runs, exports = [], []
    for _ in range(compiles):
        runs.append(step("compile", folder, spec=spec))
        exports.append(step("torch-export", folder, spec=spec))
    command = igc_compile(folder)
    say(f"{name}: ordinary networks")
    ordinary = step("ordinary", folder, spec=spec, macs=runs[0]["macs"])
    costs = {"gated": gated, "compiled": runs[0]}
    costs |= {n: ordinary[n] for n in ("dense", "shared", "singles")}
    timings = []
    for runtime in ("onnxruntime", "torch"):
        say(f"{name}: {runtime}")
        found = step(runtime, folder, spec=spec, rounds=rounds, threads=THREADS)
        timings += [timing(runtime, int(n), taken, costs) for n, taken in found["samples"].items()]
    return {
        "name": name,
        "spec": spec,
        "open": gated["open"],
        "width": ordinary["width"],
        "verified": all(run["verified"] for run in runs),
        "cost": {n: {key: c[key] for key in ("macs", "flops", "params")} for n, c in costs.items()},
        "timings": timings,
        "files": {file: size(folder / file) for file in FILES},
        "compile": compile_times(runs, exports),
        "memory": memory(gated["bytes"], peaks(runs, exports, command), empty),
    }


def timing(runtime: str, threads: int, samples: dict[str, list[float]], costs: Json) -> Json:
    """One runtime's spreads, and the ratios that compiling is judged by."""
    gated, compiled = samples["gated"], samples["compiled"]
    per_mac = costs["compiled"]["macs"] / costs["dense"]["macs"]
    return {
        "runtime": runtime,
        "threads": threads,
        "seconds": {name: spread(values) for name, values in samples.items()},
        "ratios": {
            "gated / compiled": ratio(gated, compiled),
            "dense / compiled, per MAC": ratio(samples["dense"], compiled, per_mac),
            "compiled / shared": ratio(compiled, samples["shared"]),
            "singles / compiled": ratio(samples["singles"], compiled),
        },
    }


def compile_times(runs: list[Json], exports: list[Json]) -> Json:
    """Seconds by part, and igc's whole against the export of the gated network."""
    names = [part for part in runs[0]["parts"] if part != "build"]

    def whole(key: str) -> list[float]:
        return [sum(run["parts"][part][key] for part in names) for run in runs]

    def export(key: str) -> list[float]:
        return [run["parts"]["export"][key] for run in exports]

    return {
        "parts": {n: spread([run["parts"][n]["seconds"] for run in runs]) for n in names},
        "cpu_parts": {n: spread([run["parts"][n]["cpu_seconds"] for run in runs]) for n in names},
        "passes": runs[-1]["passes"],
        "igc": spread(whole("seconds")),
        "torch.onnx.export": spread(export("seconds")),
        "ratio": ratio(whole("seconds"), export("seconds")),
        "cpu_ratio": ratio(whole("cpu_seconds"), export("cpu_seconds")),
    }


def peaks(runs: list[Json], exports: list[Json], command: Json) -> dict[str, float]:
    """Peak bytes of the processes; "compile" and "onnx" are how far one run had come by then."""
    parts = runs[0]["parts"]
    whole = runs[0]["process"]["peak"]
    return {
        "command": command["peak"],
        "compile": parts["emit"].get("peak", whole),
        "onnx": parts["onnx"].get("peak", whole),
        "torch.onnx.export": exports[0]["process"]["peak"],
    }


def memory(model: int, found: dict[str, float], empty: Json) -> Json:
    """Peak bytes, and as multiples of the model what exceeds those on a tiny network."""
    times = {name: (peak - empty[name]) / model for name, peak in found.items()}
    return {"model": model, **found, "times": times}


def baseline(folder: Path) -> dict[str, float]:
    """Peak bytes of the same processes on a tiny network: what the runtimes take for themselves."""
    say("baseline")
    spec = {"name": "baseline", **TINY}
    step("save", folder, spec=spec)
    run, export = step("compile", folder, spec=spec), step("torch-export", folder, spec=spec)
    return peaks([run], [export], igc_compile(folder))


def paper(name: str, folder: Path, empty: Json) -> Json:
    """`igc compile`, its verifications included, on one network of a paper."""
    say(f"{name}: save")
    try:
        saved = step("paper", folder, name=name)
        say(f"{name}: igc compile")
        used = igc_compile(folder)
    except Failed as error:  # the rest of a long run is worth having
        say(f"{name}: failed: {error}")
        return {"name": name, "failed": str(error)}
    found = {key: saved[key] for key in ("size", "tasks", "gates", "model")}
    times = (used["peak"] - empty["command"]) / saved["model"]
    found["capture"] = saved["process"]["cpu_seconds"]
    return {"name": name, **found, "onnx": size(folder / "command.onnx"), **used, "times": times}


def size(path: Path) -> int:
    """Bytes of a file, with those that lie beside it as external data."""
    data = path.with_name(path.name + ".data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


def machine() -> Json:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    packages = ("torch", "onnx", "onnxruntime", "onnxscript")
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {"Python": platform.python_version(), **{p: version(p) for p in packages}},
    }


def collect(
    names: list[str], rounds: int, compiles: int | None, quick: bool, save: Callable[[Json], None]
) -> Json:
    """Every figure of the named networks, and of "scaling" where it is named.

    `save` gets what there is after each of them, so that a run that is stopped leaves the rest.
    """
    began = time.perf_counter()
    results: Json = {
        "schema": 1,
        "machine": machine(),
        "settings": {"rounds": rounds, "threads": THREADS, "quick": quick},
        "networks": [],
        "papers": [],
        "scaling": None,
    }
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        if names != ["scaling"]:
            results["baseline"] = baseline(top)
        for name in names:
            folder = top / name
            folder.mkdir()
            if name == "scaling":
                results["scaling"] = scaling(folder, quick, say)
            elif name in PAPERS:
                results["papers"].append(paper(name, folder, results["baseline"]))
            else:
                spec = {"name": name, **{**NETWORKS, "tiny": TINY}[name]}
                often = compiles or (1 if quick else COMPILES.get(spec["family"], 1))
                found = measure(name, spec, rounds, often, folder, results["baseline"])
                results["networks"].append(found)
            shutil.rmtree(folder)
            results["settings"]["seconds"] = time.perf_counter() - began
            save(results)
    return results


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Measures, writes the files, prints the tables; returns the exit code."""
    known = (*NETWORKS, *COMPILED, "tiny")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two networks, few rounds")
    parser.add_argument("--only", action="append", choices=known, help="this one; may be repeated")
    parser.add_argument("--papers", action="store_true", help="the papers' networks, and scaling")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"rounds; {ROUNDS} by default")
    parser.add_argument("--compiles", type=int, metavar="N", help="compile runs of each network")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", metavar="DIR")
    options = parser.parse_args(argv)
    for name in ("repeats", "compiles"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: give a number of at least 1")
    names = options.only or list(QUICK if options.quick else (*NETWORKS, *COMPILED))
    if options.papers:
        names = [*(options.only or ()), *COMPILED]
    rounds = options.repeats or (QUICK_ROUNDS if options.quick else ROUNDS)
    files = {
        "latest": [n for n in dict.fromkeys(names) if n not in COMPILED],
        "papers": [n for n in dict.fromkeys(names) if n in COMPILED],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    failed: list[str] = []
    for file, own in files.items():
        if not own:
            continue

        def save(results: Json, path: Path = options.out / file) -> None:
            path.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
            path.with_suffix(".md").write_text(markdown(results))

        try:
            results = collect(own, rounds, options.compiles, options.quick, save)
        except Failed as error:
            print(f"bench: failed: {error}", file=sys.stderr)
            return 1
        print(markdown(results))
        wrong += [net["name"] for net in results["networks"] if not net["verified"]]
        failed += [paper["name"] for paper in results["papers"] if "failed" in paper]
    if wrong:
        print(f"bench: gated and compiled differ: {', '.join(wrong)}", file=sys.stderr)
    if failed:
        print(f"bench: not compiled: {', '.join(failed)}", file=sys.stderr)
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main())
