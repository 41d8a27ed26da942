"""Compile time against the size of the network: layers x tasks."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path
from statistics import correlation, linear_regression
from typing import Any

from benchmarks.bench_children import step

Json = dict[str, Any]

TASKS = (2, 4, 8)
LAYERS = (20, 50, 100, 200)
QUICK = ((2, 5), (2, 10), (4, 10))  # (tasks, layers)
LIMIT = 900.0  # seconds: a point that would take longer by the one before is left out


def scaling(folder: Path, quick: bool, say: Callable[[str], None]) -> Json:
    """CPU seconds from module to ONNX file by layers and tasks, and the line through them."""
    grid = QUICK if quick else tuple((tasks, layers) for tasks in TASKS for layers in LAYERS)
    points: list[Json] = []
    left_out: list[str] = []
    for tasks, layers in sorted(grid, key=lambda point: point[0] * point[1]):
        work = tasks * layers
        last = points[-1] if points else None
        if last and last["seconds"] * work / (last["tasks"] * last["layers"]) > LIMIT:
            left_out.append(f"{tasks} tasks x {layers} layers")
            continue
        say(f"scaling: {tasks} tasks, {layers} layers")
        found = step("scale", folder, layers=layers, tasks=tasks)
        parts = found["parts"].values()
        whole = {key: sum(part[key] for part in parts) for key in ("seconds", "cpu_seconds")}
        points.append({"tasks": tasks, "layers": layers, "nodes": found["nodes"], **whole})
    line = fit([p["tasks"] * p["layers"] for p in points], [p["cpu_seconds"] for p in points])
    for point in points:
        work = point["tasks"] * point["layers"]
        point["predicted"] = line["intercept"] + line["slope"] * work
    return {"points": points, "fit": line, "left_out": ", ".join(left_out)}


def fit(work: list[int], seconds: list[float]) -> dict[str, float]:
    """The least-squares line, its R^2, and the power that fits best: 1 is linear, 2 quadratic.

    The power leaves the fixed cost in, so small networks pull it below that of large ones.
    """
    slope, intercept = linear_regression(work, seconds)
    power = linear_regression([log(x) for x in work], [log(y) for y in seconds]).slope
    r2 = correlation(work, seconds) ** 2
    return {"slope": slope, "intercept": intercept, "r2": r2, "power": power}
