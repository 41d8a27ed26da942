"""The trainer: starts from single-task weights, writes a loadable checkpoint, tells its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import igc
from igc.demo import train as trainer
from igc.demo.people import TASKS, load
from igc.errors import BadInput

METHODS = ["majority", "one shared network", "three single-task networks", "gated network"]


def test_the_gated_network_starts_as_its_single_task_networks() -> None:
    singles = {task: trainer.Plain(task, seed=0).eval() for task in TASKS}
    net = trainer.assemble(trainer.Plain(*TASKS, seed=0), singles).eval()
    x = torch.randn(2, 3, 32, 32)
    outputs = net(x)
    assert list(outputs) == list(TASKS)
    for task, single in singles.items():
        torch.testing.assert_close(outputs[task], single(x)[task], rtol=0, atol=0)


def test_the_shared_branch_starts_as_the_shared_network() -> None:
    shared = trainer.Plain(*TASKS, seed=0)
    net = trainer.assemble(shared, {task: trainer.Plain(task, seed=0) for task in TASKS})
    own = net.branches["shared"].state_dict()
    assert torch.equal(own["layer3.0.conv1.weight"], shared.backbone.layer3[0].conv1.weight)


def test_open_gates_are_counted_over_channels_not_layers() -> None:
    net = trainer.build()
    assert trainer.open_gates(net) == dict.fromkeys(TASKS, 1.0)
    with torch.no_grad():
        net.gates["layer3.0.conv1"]["tone"].alpha[:8] = 0.0
    # 7 layers of 4 channels, 6 of 8 and 6 of 16.
    assert trainer.open_gates(net) == {"gender": 1.0, "tone": 1 - 8 / 172, "kind": 1.0}


def test_settings_set_the_threads_and_restore_them_and_the_seed() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    with trainer._settings(threads + 1):
        assert torch.get_num_threads() == threads + 1
        torch.manual_seed(1)
        torch.rand(3)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_training_writes_a_checkpoint_that_igc_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, held_out = load()
    few = torch.arange(len(people)) % 8 == 0
    monkeypatch.setattr(trainer, "load", lambda: (people.where(few), held_out))
    summary = trainer.train(tmp_path / "gated.pt", epochs=1, seed=3, progress=False, threads=1)
    assert list(summary.accuracy) == METHODS
    assert all(set(values) == set(TASKS) for values in summary.accuracy.values())
    assert summary.size == (tmp_path / "gated.pt").stat().st_size
    assert json.loads(json.dumps(summary.to_dict()))["epochs"] == 1
    loaded = igc.load(tmp_path / "gated.pt")
    assert list(loaded(held_out.inputs[:2])) == list(TASKS)


def test_an_unwritable_path_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        trainer.train(tmp_path / "no such folder" / "gated.pt", progress=False)
