"""Timing several runnables side by side: one after the other, round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

SAMPLE = 0.01  # seconds that one sample should take at least


def interleaved(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one run, per name and round.

    Every round times every runnable once, starting with another one each time: what slows the
    machine for a while slows all of them. Short ones run several times per sample.
    """
    often = {name: _calibrated(run) for name, run in runs.items()}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for i in range(rounds):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            run = runs[name]
            began = time.perf_counter()
            for _ in range(often[name]):
                run()
            samples[name].append((time.perf_counter() - began) / often[name])
    return samples


def _calibrated(run: Callable[[], Any]) -> int:
    """How often to run per sample; warms up on the way."""
    for _ in range(2):
        run()
    began = time.perf_counter()
    run()
    return max(1, round(SAMPLE / max(time.perf_counter() - began, 1e-6)))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes."""
    quartiles = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {
        "median": median(values),
        "q1": quartiles[0],
        "q3": quartiles[2],
        "min": min(values),
        "max": max(values),
    }


def ratio(over: Sequence[float], under: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """The spread of `scale * over / under`, taken round by round."""
    return spread([scale * a / b for a, b in zip(over, under, strict=True)])
