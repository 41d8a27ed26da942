"""What every test shares: one thread per worker, seeds, hypothesis profiles, an eye on the time."""

from __future__ import annotations

import os
import random
from pathlib import Path

# Set before torch loads, and inherited by the processes that tests start: the workers of
# pytest-xdist already use every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from slowness import Slowness
from tiny import Tiny

SEED = int(os.environ.get("IGC_SEED", "0"))

_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
# The same examples in every run, so that a change is what a failure speaks of; fuzz draws new ones.
settings.register_profile("dev", max_examples=25, derandomize=True, **_COMMON)
settings.register_profile("ci", max_examples=32, derandomize=True, **_COMMON)
settings.register_profile("fuzz", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("IGC_HYPOTHESIS_PROFILE", "dev"))

torch.set_num_threads(1)


class _FailuresAtOnce:
    """Names what failed when it fails: a run that is stopped prints no summary."""

    def __init__(self, reporter) -> None:
        self.reporter = reporter

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            last = report.longreprtext.splitlines()[-1:]
            self.reporter.write_line(f"\nFAILED {report.nodeid} ({report.when}) {''.join(last)}")


@pytest.hookimpl(trylast=True)  # after the reporter is there
def pytest_configure(config) -> None:
    config.pluginmanager.register(Slowness())
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(_FailuresAtOnce(reporter))


@pytest.fixture
def seed() -> int:
    """The seed of this run: 0, or IGC_SEED."""
    return SEED


@pytest.fixture
def rng(seed: int) -> torch.Generator:
    """A fresh CPU generator, the same for every test: torch.randn(..., generator=rng)."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seeded(seed: int) -> None:
    """Seeds the global generators before each test, so that order and workers do not matter."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good checkpoint of the smallest network, to be spoilt."""
    import igc

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "net.pt"
    igc.save(Tiny(), path, torch.randn(2, 4))
    return path


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Path:
    """The ONNX file of that checkpoint."""
    import igc

    path = checkpoint.with_name("net.onnx")
    igc.export_onnx(igc.compile(checkpoint), path, simplify=False)
    return path
