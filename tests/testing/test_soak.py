"""The soak finds, shrinks, saves and survives: its trials are replaced by ones that fail on cue."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from forked import in_a_child
from hypothesis import given
from torch import nn

import igc
from igc.testing import Head, Node, Spec, architecture, build
from igc.testing.coverage import ALL, count, features
from igc.testing.differential import LEVELS, same_numbers, within_bound
from igc.testing.hunt import Hunter
from igc.testing.isolated import Outcome, isolated
from igc.testing.regressions import from_data, load, save, to_data
from igc.testing.soak import summarise
from igc.testing.strategies import specs
from igc.verification.bounds import Yardstick

TINY = Spec((Node("linear", (0,), 3, gate="where"),), (Head("classify", (1,)),), kind="vector")


def hunter(folder: Path, trial: Callable[[Spec], object], seconds: float = 60) -> Hunter:
    return Hunter(trial, folder / "w.jsonl", folder / "found", time.time() + seconds, size=40)


def events(folder: Path, name: str) -> list[dict]:
    rows = map(json.loads, (folder / "w.jsonl").read_text().splitlines())
    return [row for row in rows if row["event"] == name]


@given(specs())
def test_a_spec_survives_json(spec: Spec) -> None:
    assert from_data(json.loads(json.dumps(to_data(spec)))) == spec
    for line, names in features(spec).items():
        assert names <= set(ALL[line])


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(TypeError):
        from_data({**to_data(TINY), "code": "print()"})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path, TINY, "float64: wrong by 3", "seed 7")
    (case,) = load(tmp_path).values()
    assert (case.spec, case.fault, case.found) == (TINY, "float64: wrong by 3", "seed 7")
    assert path.name.startswith("float-wrong-by-")


def _die() -> None:
    faulthandler.disable()  # pytest's would print a traceback
    os.kill(os.getpid(), 11)


def _spin() -> None:
    while True:
        pass


def _swell() -> None:
    _ = bytearray(8 << 30)


def _err() -> None:
    raise ValueError("of this kind")


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (_die, "crash SIGSEGV"),
        (_spin, "timeout"),
        (_swell, "memory"),
        (_err, "ValueError"),
    ],
    ids=["segfault", "endless", "memory", "error"],
)
def test_a_child_may_end_in_any_way(call: Callable[[], None], fault: str) -> None:
    outcome = isolated(call, memory=1 << 30, seconds=1)
    assert outcome.fault.startswith(fault)
    assert outcome.message
    assert isolated(lambda: 5).value == 5


def _collect() -> int:
    gc.collect()
    return 0


@pytest.mark.parametrize("fork", ["isolated", "in_a_child"])
def test_a_child_leaves_its_parents_garbage_alone(fork: str, tmp_path: Path) -> None:
    """Sessions have threads; destroying one in a child waited for threads that a fork lacks."""
    path = tmp_path / "m.onnx"
    igc.export_onnx(igc.compile(nn.Linear(3, 2), torch.randn(2, 3)), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4
    gc.disable()
    try:
        garbage: list[object] = [onnxruntime.InferenceSession(str(path), options)]
        garbage.append(garbage)
        del garbage
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            done = in_a_child(_collect) if fork == "in_a_child" else isolated(_collect).value
    finally:
        gc.enable()
    assert done == 0


def _here(call: Callable[[], object]) -> Outcome:
    """Without a child: it fails, "crashes" or returns in this process."""
    try:
        return Outcome("", "", call(), 0.0)
    except AssertionError as error:
        return Outcome("crash SIGSEGV", str(error), None, 0.0)


def _gated_relu(spec: Spec) -> list[str]:
    if any(n.gate and n.act == "relu" for n in spec.nodes):
        raise AssertionError("gates and relu: never again")
    return []


@pytest.mark.slow
def test_a_fault_is_shrunk_saved_and_then_known(tmp_path: Path) -> None:
    found = hunter(tmp_path, _gated_relu)
    found.attempt = _here
    found.batch(1, tmp_path / "db")
    found.batch(2, tmp_path / "db")
    (case,) = load(tmp_path / "found").values()
    assert len(case.spec.nodes) <= 3
    assert case.spec.tasks == 1
    assert any(n.gate and n.act == "relu" for n in case.spec.nodes)
    assert case.fault == "gates and relu: never again"
    assert case.found == "seed 1"
    assert found.known == {"crash SIGSEGV"}
    text, faults = summarise(tmp_path)
    assert faults == 1
    assert "seeds               1..2 (2)" in text
    assert " x crash SIGSEGV" in text
    failing = [from_data(e["spec"]) for e in events(tmp_path, "trial") if e["fault"]]
    assert case.spec in failing
    assert len(failing) > 1


def test_time_is_kept_and_a_clean_run_has_no_fault(tmp_path: Path) -> None:
    started = time.time()
    calm = hunter(tmp_path, lambda spec: ["aten.relu.default"], 0.5)
    calm.attempt = _here
    calm.run(1, tmp_path / "db")
    assert time.time() - started < 20
    text, faults = summarise(tmp_path)
    assert faults == 0
    assert "ATen ops met        1: relu.default" in text
    assert summarise(tmp_path, deaths=1)[1] == 1


def test_a_worker_without_a_parent_stops(tmp_path: Path) -> None:
    alone = hunter(tmp_path, lambda spec: [], 600.0)
    alone.stop = lambda: True
    alone.run(1, tmp_path / "db")
    assert not (tmp_path / "w.jsonl").exists()


def test_every_level_of_the_runtime_is_there() -> None:
    members = onnxruntime.GraphOptimizationLevel.__members__.values()
    assert set(map(int, LEVELS.values())) == set(map(int, members))
    assert {"disable_all", "enable_basic", "enable_extended", "enable_all"} <= LEVELS.keys()


def test_the_legs_fail_on_wrong_numbers() -> None:
    net, inputs = build(architecture("mlp"))
    with torch.no_grad():
        value = net(*inputs)["task0"]
    yard = [Yardstick(value, torch.full(value.shape[1:], 1e-7), value.double())]
    within_bound(yard, [value + 1e-7], "a way", "here")
    with pytest.raises(AssertionError, match="a way, here: output 0 differs by"):
        within_bound(yard, [value * 1.001], "a way", "here")
    same_numbers([value.double()], [value.double() * (1 + 1e-12)], "here")
    with pytest.raises(AssertionError, match="relative error"):
        same_numbers([value.double()], [value.double() * (1 + 1e-8)], "here")


def test_counts_name_what_never_came(tmp_path: Path) -> None:
    counts = count([TINY])
    assert counts["gate idioms"]["where"] == 1
    assert counts["gate idioms"]["lerp"] == 0
