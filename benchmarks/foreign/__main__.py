"""`python -m benchmarks.foreign`: gates, compiles and verifies third-party networks, with a table.

Every network runs in its own process, with limits on time and memory. Results are kept in
`foreign.json`; a network that has one is not run again unless `--only` names it or `--again`
is given. Needs the extra `foreign` (torchvision, timm).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.foreign.table import markdown, verdict

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> int:
    """Returns 1 where any network came out wrong, else 0."""
    options = _options()
    libraries = [options.family] if options.family else ["torchvision", "timm"]
    path = options.out / "foreign.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    tasks = [
        (entry, at)
        for entry in _listed(libraries)
        for at in options.at
        if not options.only or any(part in _key(entry) for part in options.only)
        if options.only or options.again or f"{_key(entry)}@{at}" not in results
    ]
    options.out.mkdir(parents=True, exist_ok=True)

    def run(task: tuple[dict[str, Any], str]) -> None:
        entry, at = task
        found = _child(entry, at, options)
        results[f"{_key(entry)}@{at}"] = found
        print(f"{_key(entry)} {at}: {verdict(found)}", flush=True)
        path.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, tasks))
    text = markdown(results)
    (options.out / "foreign.md").write_text(text)
    print(text)
    return int(any(verdict(found).startswith("wrong") for found in results.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foreign", description=__doc__)
    parser.add_argument("--family", choices=("torchvision", "timm"), help="one library alone")
    parser.add_argument("--only", action="append", help="networks whose name contains this")
    parser.add_argument("--at", nargs="+", default=["layer", "block"], choices=("layer", "block"))
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--again", action="store_true", help="run what has a result already, too")
    parser.add_argument("--draws", type=int, default=2, help="gradient draws; 0: do not judge")
    parser.add_argument("--no-onnx", action="store_true", help="leave the ONNX file out")
    parser.add_argument(
        "--seconds", type=int, default=600, help="CPU seconds that a network may take"
    )
    parser.add_argument("--memory-gib", type=float, default=6, help="memory limit of a network")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of foreign.json and .md")
    return parser.parse_args()


def _key(entry: dict[str, Any]) -> str:
    return f"{entry['library']}/{entry['name']}"


def _listed(libraries: list[str]) -> list[dict[str, Any]]:
    """Listed by a child, so that this process stays small: a child's memory counts its parent's."""
    command = [sys.executable, "-m", "benchmarks.foreign.catalog", *libraries]
    listed: list[dict[str, Any]] = json.loads(subprocess.check_output(command, text=True))
    return listed


def _child(entry: dict[str, Any], at: str, options: argparse.Namespace) -> dict[str, Any]:
    task = {"entry": entry, "at": at, "draws": options.draws, "onnx": not options.no_onnx,
            "memory_gib": options.memory_gib, "seconds": options.seconds}  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.foreign.judge", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    tail = " ".join(done.stderr.split())[-300:]
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        tail = f"the limit of {options.seconds} CPU seconds, or of memory"
    error = f"ended with {done.returncode}: {tail}"
    return {"key": _key(entry), "family": entry["family"], "at": at, "note": "", "error": error}


if __name__ == "__main__":
    sys.exit(main())
