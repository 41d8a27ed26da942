"""No allowed operation kills the process, whatever its arguments; and what would is found."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator
from random import Random

import pytest
import torch

from igc.checkpoint.data import from_data
from igc.errors import BadInput
from igc.program import trusting
from igc.program.trusting import require_safe
from igc.testing import op_crashes
from igc.testing.op_crashes import Plan, attempt, guarded, main, try_calls
from igc.testing.wild_calls import operations, wild_call

aten = torch.ops.aten
X = torch.zeros(5, 2, 3)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """On one thread, which is all that a fork has; pytest's traceback of a death left out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    faulthandler.disable()
    yield
    torch.set_num_threads(threads)
    faulthandler.enable()


def test_a_call_is_drawn_again_by_its_number() -> None:
    plan = Plan(tuple(operations()))
    for number in (0, 17, 400):
        one, two = plan.call(number), plan.call(number)
        assert one.data == two.data and one.op == plan.ops[number]
        assert all(torch.equal(t.isnan(), two.tensors[k].isnan()) for k, t in one.tensors.items())


@pytest.mark.slow
def test_some_calls_of_most_operations_are_taken() -> None:
    names = operations()[::40]
    taken = {n for n in names if any(attempt(wild_call(n, Random(i))) for i in range(12))}
    assert len(taken) > 0.6 * len(names)


def test_a_death_is_found_and_the_rest_still_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(call: object) -> bool:
        seen.append(call)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        return True

    seen: list[object] = []
    monkeypatch.setattr(op_crashes, "attempt", dying)
    tried = try_calls(Plan(("aten.relu.default",)), range(4))
    assert [(d.number, d.op, d.signal) for d in tried.deaths] == [
        (2, "aten.relu.default", "SIGSEGV")
    ]
    assert tried.calls == 4


def test_reading_past_an_operand_is_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(_call: object) -> bool:
        return bool(guarded(torch.ones(3), 0).as_strided((1,), (1,), 0)[0])

    def reading_on(_call: object) -> bool:
        last = guarded(torch.ones(3), 0)
        import ctypes

        return bool(ctypes.c_float.from_address(last.data_ptr() + 12).value)

    plan = Plan(("aten.relu.default",))
    monkeypatch.setattr(op_crashes, "attempt", reading)
    assert try_calls(plan, range(1)).deaths == ()
    monkeypatch.setattr(op_crashes, "attempt", reading_on)
    (death,) = try_calls(plan, range(1)).deaths
    assert death.signal in ("SIGSEGV", "SIGBUS")


def lstm(hx: torch.Size | tuple[int, ...] = (1, 2, 4), **changed: object) -> tuple[object, ...]:
    """The arguments of a recurrence of one layer, from 3 features to 4."""
    w = [torch.zeros(16, 3), torch.zeros(16, 4), torch.zeros(16), torch.zeros(16)]
    given = {"input": X, "hx": [torch.zeros(hx)] * 2, "params": w, "has_biases": True,
             "num_layers": 1, "dropout": 0.0, "train": False, "bidirectional": False,
             "batch_first": False}  # fmt: skip
    return tuple({**given, **changed}.values())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hx": (1, 3, 4)}, "stands where"),
        ({"hx": (1, 2, 5)}, "stands where"),
        ({"params": []}, "0 weights are not those of 1 layers"),
        ({"params": [torch.zeros(16, 3)] * 4}, "stands where"),
        ({"num_layers": 2}, "4 weights are not those of 2 layers"),
        ({"num_layers": 0}, "a layer or more"),
        ({"bidirectional": True}, "4 weights"),
        ({"batch_first": True}, "stands where"),
        ({"input": X[0]}, "three axes"),
        ({"input": X.double()}, "different types"),
    ],
)
def test_a_recurrence_that_would_read_beyond_is_refused(
    changed: dict[str, object], said: str
) -> None:
    require_safe(aten.lstm.input, lstm(), {})
    shape = changed.pop("hx", (1, 2, 4))
    with pytest.raises(BadInput, match=said):
        require_safe(aten.lstm.input, lstm(shape, **changed), {})  # type: ignore[arg-type]


def test_a_memory_format_is_for_its_number_of_axes() -> None:
    images = {"memory_format": torch.channels_last}
    require_safe(aten.clone.default, (torch.zeros(1, 2, 3, 4),), images)
    with pytest.raises(BadInput, match="for 4 axes, not for 3"):
        require_safe(aten.clone.default, (X,), images)
    with pytest.raises(BadInput, match="for 4 axes, not for 2"):
        require_safe(aten.empty.memory_format, ([2, 3],), images)
    require_safe(aten.empty.memory_format, ([2, 3],), {})


def test_memory_is_never_pinned() -> None:
    call = wild_call("aten.zeros_like.default", Random(0))
    node = next(n for n in call.data["nodes"] if n["name"] == "call")
    node["kwargs"] = {"pin_memory": True}
    with pytest.raises(BadInput, match="pin_memory, which is for another device"):
        from_data(call.data, call.tensors)


@pytest.mark.slow
def test_no_call_kills() -> None:
    tried = try_calls(Plan(tuple(operations())), range(len(operations()) * 10))
    assert tried.deaths == () and tried.taken > tried.calls / 3


@pytest.mark.slow
def test_without_the_checks_a_call_kills(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ops", r"lstm\.input", "--calls", "60", "--seed", "1"]) == 0
    monkeypatch.setattr(trusting, "CHECKS", {})
    assert main(["--ops", r"lstm\.input", "--calls", "60", "--seed", "1"]) == 1
    assert "SIG" in capsys.readouterr().out
