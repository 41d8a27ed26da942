"""The shipped pictures: counts, labels against the Unicode sequences, and the split by concept."""

from __future__ import annotations

from importlib import resources

import pytest
import torch

from igc.demo.people import TASKS, load, majority, normalise
from igc.demo.people_labels import GENDERS, TONE_NAMES, TONES, concept_key, gender_of, held_out


def test_counts() -> None:
    train, out = load()
    assert (len(train), len(out)) == (1121, 358)
    assert (len(set(train.concepts)), len(set(out.concepts))) == (72, 23)
    assert train.inputs.shape == (1121, 3, 32, 32)
    assert train.inputs.dtype == torch.float32
    assert len(set(train.codes + out.codes)) == 1479


def test_no_concept_is_on_both_sides() -> None:
    train, out = load()
    assert not set(train.concepts) & set(out.concepts)
    assert not {concept_key(code) for code in train.codes} & {concept_key(c) for c in out.codes}


def test_no_held_out_picture_was_trained_on_not_even_mirrored() -> None:
    train, out = load()
    known = {row.numpy().tobytes() for x in (train.inputs, train.inputs.flip(-1)) for row in x}
    assert not known & {row.numpy().tobytes() for row in out.inputs}


def test_each_side_has_every_class_of_every_task() -> None:
    for people in load():
        for task, names in TASKS.items():
            counts = people.labels[task].bincount(minlength=len(names))
            assert len(counts) == len(names)
            assert int(counts.min()) > 0
            assert int(counts.sum()) == len(people)


def test_labels_are_those_of_the_unicode_sequence() -> None:
    for people in load():
        for i, code in enumerate(people.codes):
            tones = [point for point in code.split("-") if point in TONES]
            assert TONES[int(people.labels["tone"][i])] == (tones[0] if tones else "")
            assert GENDERS[int(people.labels["gender"][i])] == gender_of(code)


def test_known_pictures() -> None:
    train, _ = load()
    i = train.codes.index("1F469-1F3FF-200D-1F692")
    assert train.names[i] == "female-firefighter"
    assert train.concepts[i] == "firefighter"
    assert {task: TASKS[task][int(label[i])] for task, label in train.labels.items()} == {
        "gender": "woman",
        "tone": "dark",
        "kind": "role",
    }


def test_background_is_zero_and_stays_zero_in_every_corner_of_a_runner() -> None:
    train, _ = load()
    corner = train.inputs[train.codes.index("1F3C3")][:, 0, 0]
    assert corner.tolist() == [0.0, 0.0, 0.0]
    assert normalise(torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)).flatten().tolist() == [
        -2.0,
        0.0,
        127 / 64,
    ]


def test_majority_is_the_best_constant_guess() -> None:
    _, out = load()
    # 122 unspecified, 63 without a tone, 114 roles, of 358.
    assert majority(out) == {"gender": 122 / 358, "tone": 63 / 358, "kind": 114 / 358}


@pytest.mark.parametrize(
    ("code", "gender", "concept"),
    [
        ("1F468-200D-1F692", "man", "1F9D1-200D-1F692"),
        ("1F3C4-1F3FB-200D-2640-FE0F", "woman", "1F3C4"),
        ("1F9D1-1F3FF", "unspecified", "1F9D1"),
        ("1F934-1F3FC", "man", "1FAC5"),
        ("1F478", "woman", "1FAC5"),
        ("1F931", "unspecified", "1F9D1-200D-1F37C"),
    ],
)
def test_sequences(code: str, gender: str, concept: str) -> None:
    assert gender_of(code) == gender
    assert concept_key(code) == concept


def test_held_out_shares_places_in_proportion_and_ignores_order() -> None:
    kinds = {f"{kind}{i}": kind for kind in ("role", "sport", "person") for i in range(23)}
    kinds |= {f"fantasy{i}": "fantasy" for i in range(46)}
    chosen = held_out(kinds)
    assert len(chosen) == 23
    # 23 places over 115 concepts: a fifth of each kind, 4.6, 4.6, 4.6 and 9.2.
    counts = {kind: sum(kinds[key] == kind for key in chosen) for kind in set(kinds.values())}
    assert counts == {"role": 5, "sport": 4, "person": 5, "fantasy": 9}
    assert held_out(dict(reversed(kinds.items()))) == chosen


def test_notice_ships_beside_the_pictures() -> None:
    notice = (resources.files("igc.demo") / "data" / "NOTICE").read_text()
    assert "Noto Emoji" in notice
    assert "Apache License, Version 2.0" in notice
    assert len(TONE_NAMES) == len(TONES)
