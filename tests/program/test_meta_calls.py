"""Remembered shapes: the same as computed anew, and told apart by everything that matters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from igc.capture import capture
from igc.program import meta_calls
from igc.program.meta_calls import remembered
from igc.program.shapes import other_sizes, shapes

aten = torch.ops.aten


def on_meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def test_a_program_has_the_shapes_that_it_has_without_remembering(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Hardswish(), nn.MaxPool2d(2), nn.Flatten(2)
    )
    program = capture(net, torch.randn(2, 3, 24, 24))
    for sizes in (program.sizes, other_sizes(program)):
        first, second = shapes(program, sizes), shapes(program, sizes)
        monkeypatch.setattr("igc.program.execute.remembered", lambda key, run: run())
        assert first == second == shapes(program, sizes)
        monkeypatch.undo()


COUNTS = on_meta(2, dtype=torch.int64)
PAIRS = [
    [(aten.sum.dim_IntList, on_meta(2, 3), [1], keep) for keep in (True, False)],
    [(aten.relu.default, x) for x in (on_meta(2, 3), on_meta(3, 2))],
    [(aten.relu.default, x) for x in (on_meta(2, 3), on_meta(3, 2).t())],
    [(aten.relu.default, x) for x in (on_meta(2), on_meta(2, dtype=torch.float64))],
    [(aten.add.Tensor, COUNTS, number) for number in (1, 1.0)],
    [(aten.cat.default, [on_meta(2, *more), on_meta(3, *more)]) for more in ((), (1,))],
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_calls_that_differ_are_told_apart(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    for op, *args in (one, other, one, other):
        want = op(*args)
        have = remembered((op, args), lambda op=op, args=args: op(*args))
        assert (have.shape, have.stride(), have.dtype) == (want.shape, want.stride(), want.dtype)
        assert have.is_meta


def test_a_call_is_made_once_and_its_errors_every_time() -> None:
    calls: list[int] = []

    def run() -> Tensor:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("does not fit")
        return on_meta(7)

    key = ("an op of this test", on_meta(5))
    with pytest.raises(RuntimeError):
        remembered(key, run)
    assert [tuple(remembered(key, run).shape) for _ in range(3)] == [(7,)] * 3
    assert len(calls) == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_calls, "LIMIT", 10)
    monkeypatch.setattr(meta_calls, "_seen", {})
    for size in range(30):
        assert remembered(("grows", size), lambda size=size: on_meta(size)).shape == (size,)
        assert len(meta_calls._seen) <= 10


def test_several_outputs_are_remembered_too() -> None:
    calls: list[int] = []

    def run() -> tuple[Tensor, Tensor]:
        calls.append(1)
        return on_meta(3, 4).t(), on_meta(2).long()

    key = ("an op with two outputs", on_meta(4, 3))
    for _ in range(3):
        first, second = remembered(key, run)
        assert (tuple(first.shape), first.stride()) == ((4, 3), (1, 4))
        assert (tuple(second.shape), second.dtype) == ((2,), torch.int64)
    assert len(calls) == 1
    assert type(remembered(key, run)) is tuple
