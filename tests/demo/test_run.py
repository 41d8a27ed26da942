"""The demo on the shipped checkpoint: it agrees, and predicts what the gated network does."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch

import igc
from igc.demo.learn import score
from igc.demo.people import TASKS, load, majority
from igc.demo.run import SHOWN, Demo, predict, run

CHECKPOINT = resources.files("igc.demo") / "data" / "gated.pt"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run(tmp_path_factory.mktemp("demo"))


def test_shipped_checkpoint_is_small_and_beats_the_best_constant_guess_by_far() -> None:
    with resources.as_file(CHECKPOINT) as path:
        assert path.stat().st_size < 2_000_000
        net = igc.load(path).eval()
    _, held_out = load()
    with torch.no_grad():
        found = score(net(held_out.inputs), held_out)
    for task, guess in majority(held_out).items():
        assert found[task] > guess + 0.2


@pytest.mark.slow
def test_compiled_and_gated_agree_on_every_held_out_picture(demo: Demo) -> None:
    assert demo.check.passed
    assert (demo.differing, demo.held_out) == (0, 358)
    assert demo.accuracy["compiled"] == demo.accuracy["gated"]


@pytest.mark.slow
def test_the_onnx_file_gives_the_numbers_of_the_gated_network(demo: Demo) -> None:
    _, held_out = load()
    with resources.as_file(CHECKPOINT) as path, torch.no_grad():
        expected = igc.load(path).eval()(held_out.inputs[:50])
    found = predict(demo.onnx, held_out.inputs[:50])
    assert list(found) == list(TASKS)
    for task, logits in expected.items():
        torch.testing.assert_close(found[task], logits, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_shown_pictures_carry_the_labels_of_their_rows(demo: Demo) -> None:
    _, held_out = load()
    assert len({shown.code for shown in demo.predictions}) == SHOWN
    for shown in demo.predictions:
        i = held_out.codes.index(shown.code)
        assert shown.name == held_out.names[i]
        for task, names in TASKS.items():
            assert names.index(shown.truth[task]) == int(held_out.labels[task][i])
        logits = predict(demo.onnx, held_out.inputs[i : i + 1])
        assert shown.predicted == {t: TASKS[t][int(logits[t].argmax())] for t in TASKS}


@pytest.mark.slow
def test_the_result_is_plain_data(demo: Demo) -> None:
    data = json.loads(json.dumps(demo.to_dict()))
    assert data["held_out"] == 358
    assert len(data["predictions"]) == SHOWN
    assert Path(data["onnx"]).name == "demo.onnx"
