"""Random gated networks for as long as wanted: `python -m igc.testing.soak --minutes 30 --jobs 2`.

Each is compiled and judged by `igc.testing.differential`. What fails is shrunk by Hypothesis and
saved as a JSON case. The last thing printed is the summary; the exit code is 1 if there were
faults. Seeds are printed and logged, so a run can be repeated.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igc.testing.coverage import count
from igc.testing.regressions import from_data
from igc.testing.spec import Spec

WARM = ("residual_cnn", "transformer", "conv1d", "mlp", "multi_scale")
MOST_DEATHS = 20  # of workers; more would be a fault of the soak itself
PATIENCE = 900  # seconds over time that a worker may take to shrink a fault


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the soak that the arguments describe; the exit code."""
    options = _options(arguments)
    folder: Path = options.records / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    until = time.time() + 60 * options.minutes
    _say(f"{options.jobs} jobs, {options.minutes:g} minutes, seed {options.seed}, log {folder}")
    workers: list[Any] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        deaths = _supervise(options, folder, until, workers)
    except KeyboardInterrupt:
        deaths = 0
    finally:
        for worker in workers:
            worker.terminate()  # it ends its own child first
        for worker in workers:
            worker.join(5)
            worker.kill()
    summary, faults = summarise(folder, deaths)
    (folder / "summary.txt").write_text(summary)
    _say(summary)
    return 1 if faults else 0


def _supervise(options: argparse.Namespace, folder: Path, until: float, workers: list[Any]) -> int:
    """Keeps so many workers alive until the time is up; how many died before. Fills `workers`."""
    deaths = 0
    while time.time() < until + PATIENCE and deaths < MOST_DEATHS:
        alive = [w for w in workers if w.is_alive()]
        deaths = sum(not w.is_alive() and w.exitcode != 0 for w in workers)
        if time.time() >= until and not alive:
            break
        if time.time() < until and len(alive) < options.jobs:
            workers.append(_start(options, folder, len(workers), until))
        time.sleep(0.2)
    return deaths


def summarise(folder: Path, deaths: int = 0) -> tuple[str, int]:
    """The summary of the logs in `folder`, and the number of faults; `deaths` of workers count."""
    events = [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")  # a worker may die while it writes
    ]
    trials = [e for e in events if e["event"] == "trial"]
    seeds = sorted(e["seed"] for e in events if e["event"] == "seed")
    flaky = sum(e["event"] == "flaky" for e in events)
    kinds = Counter(e["fault"] for e in trials if e["fault"])
    ops = sorted({op for e in trials if not e["fault"] for op in e["value"]})
    distinct = {json.dumps(e["spec"], sort_keys=True) for e in trials}
    rows = [
        f"networks tried      {len(trials)}, {len(distinct)} of them different",
        f"processor minutes   {sum(e['seconds'] for e in trials) / 60:.1f}",
        f"seeds               {seeds[0]}..{seeds[-1]} ({len(seeds)})" if seeds else "seeds  none",
        f"ATen ops met        {len(ops)}: {', '.join(o.removeprefix('aten.') for o in ops)}",
    ]
    for line, counts in count(from_data(e["spec"]) for e in trials).items():
        rows.append(f"{line:<20}" + ", ".join(f"{k} {n}" for k, n in counts.items()))
    rows.append(f"faults              {len(kinds)} kinds, {flaky} flaky, {deaths} dead workers")
    rows += [f"  {n} x {kind}" for kind, n in kinds.most_common()]
    rows += [f"  saved {e['path']}" for e in events if e["event"] == "saved"]
    return "\n".join(rows) + "\n", len(kinds) + flaky + deaths


def _start(options: argparse.Namespace, folder: Path, number: int, until: float) -> Any:
    """A fresh interpreter, so that no worker inherits another's state."""
    context = multiprocessing.get_context("spawn")
    first = options.seed + number * 1_000_000
    args = (folder / f"worker-{number}.jsonl", options.save, first, until, options.records / "db")
    worker = context.Process(target=_work, args=args)
    worker.start()
    return worker


def _work(log: Path, regressions: Path, first: int, until: float, database: Path) -> None:
    import torch

    from igc.testing.differential import differential
    from igc.testing.hunt import Hunter
    from igc.testing.networks import architecture

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(1)
    for name in WARM:  # imports and caches that every child would make anew otherwise
        differential(architecture(name, tasks=3))
    gc.freeze()  # no collection in a child touches, and so copies, what it shares with this process
    parent = multiprocessing.parent_process()

    def trial(spec: Spec) -> list[str]:
        return sorted(differential(spec))

    def orphaned() -> bool:
        return parent is not None and not parent.is_alive()

    Hunter(trial, log, regressions, until, orphaned).run(first, database)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m igc.testing.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first network")
    parser.add_argument("--save", type=Path, default=Path("regressions"), help="cases go here")
    parser.add_argument("--records", type=Path, default=Path(".hypothesis/soak"), help="logs")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
