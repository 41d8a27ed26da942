"""`python -m benchmarks.foreign`: gates, compiles and verifies third-party networks, with a table.

Every network runs in its own process, with limits on time and memory. Results are kept in
`foreign.json`; a network that has one is not run again unless `--only` or `--again` names it.
Needs the extra `foreign` (torchvision, timm).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.foreign.child import Limits, run
from benchmarks.foreign.shrink import KEPT
from benchmarks.foreign.table import UNREACHED, kind, markdown, unreached, verdict
from igc.version import __version__

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> int:
    """Returns 1 where any network came out wrong, else 0."""
    options = _options()
    path = options.out / "foreign.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    libraries = [options.family] if options.family else ["torchvision", "timm"]
    listed = [] if options.table else _listed(libraries, options.names)
    tasks = [
        (entry, at)
        for entry in listed
        for at in options.at
        if not options.only or any(part in _key(entry) for part in options.only)
        if _wanted(results.get(f"{_key(entry)}@{at}"), options)
    ]
    for entry in listed:
        for at in options.at:
            results.setdefault(f"{_key(entry)}@{at}", unreached(_key(entry), at))
    options.out.mkdir(parents=True, exist_ok=True)
    limits = Limits(options.seconds, memory_gib=options.memory_gib)
    version = options.label or _version()

    def one(task: tuple[dict[str, Any], str]) -> None:
        entry, at = task
        found = run(
            entry, at, limits, draws=options.draws, onnx=not options.no_onnx, kept=options.kept
        )
        results[f"{_key(entry)}@{at}"] = found | {"igc": version}
        seconds = found.get("cpu_seconds", "?")
        print(f"{_key(entry)} {at}: {verdict(found)} [{seconds} s]", flush=True)
        path.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
        (options.out / "foreign.md").write_text(markdown(results))

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, tasks))
    text = markdown(results)
    (options.out / "foreign.md").write_text(text)
    print(text)
    return int(any(kind(found) == "wrong" for found in results.values()))


def _wanted(found: Any, options: argparse.Namespace) -> bool:
    if found is None or found.get("limit") == UNREACHED or options.only:
        return True
    return any(kind(found).startswith(word) for word in options.again)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foreign", description=__doc__)
    parser.add_argument("--family", choices=("torchvision", "timm"), help="one library alone")
    parser.add_argument("--only", action="append", help="networks whose name contains this, anew")
    parser.add_argument(
        "--names", type=Path, help="file of networks, one a line as in the table: these, in order"
    )
    parser.add_argument("--at", nargs="+", default=["layer", "block"], choices=("layer", "block"))
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument(
        "--again", nargs="*", default=[], help="run verdicts that begin so again: refused, not run"
    )
    parser.add_argument("--table", action="store_true", help="print the table, run nothing")
    parser.add_argument("--draws", type=int, default=2, help="gradient draws; 0: do not judge")
    parser.add_argument("--no-onnx", action="store_true", help="leave the ONNX file out")
    parser.add_argument(
        "--kept", type=int, default=KEPT, help="equal blocks kept of large networks; 0: all"
    )
    parser.add_argument(
        "--seconds", type=int, default=600, help="CPU seconds that a network may take"
    )
    parser.add_argument("--memory-gib", type=float, default=10, help="memory limit of a network")
    parser.add_argument("--label", help="the version of igc as the rows name it; else its commit")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of foreign.json and .md")
    return parser.parse_args()


def _version() -> str:
    """The commit of this checkout; igc's version where there is none."""
    git = ["git", "-C", str(RESULTS), "describe", "--always", "--dirty"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or __version__


def _key(entry: dict[str, Any]) -> str:
    return f"{entry['library']}/{entry['name']}"


def _listed(libraries: list[str], names: Path | None) -> list[dict[str, Any]]:
    """The networks, listed by a child, so that this process stays small."""
    command = [sys.executable, "-m", "benchmarks.foreign.catalog", *libraries]
    listed: list[dict[str, Any]] = json.loads(subprocess.check_output(command, text=True))
    if names is None:
        return listed
    known = {_key(entry): entry for entry in listed}
    return [known[name] for name in names.read_text().split() if name in known]


if __name__ == "__main__":
    sys.exit(main())
