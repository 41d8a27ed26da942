"""What Python asks about sizes while torch exports is written down, with the line."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, export

from igc.capture.questions import Question, questions
from igc.capture.trials import Asked, at_sizes, trials


class Curious(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:])
        if x.shape[2] % 3:
            y = y + 1
        return y * int(x.shape[3])


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    axes = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)
    with questions() as found:
        export(Curious(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=axes, strict=False)
    return found


def test_each_line_of_python_that_asked(asked: list[Question]) -> None:
    assert [(q.answer, q.line.partition(" ")[2]) for q in asked] == [
        (True, "'if x.shape[2] % 3:'"),
        (8, "'return y * int(x.shape[3])'"),
    ]
    assert all(q.line.startswith("test_questions.py:") for q in asked)


def test_an_answer_at_other_sizes(asked: list[Question]) -> None:
    third, number = asked
    (height,), (width,) = third.expression.free_symbols, number.expression.free_symbols
    assert [third.answered({height: n}) for n in (7, 8, 9)] == [True, True, False]
    assert [number.answered({width: n}) for n in (7, 8, 9)] == [False, True, False]


def test_every_kind_of_answer_is_tried(asked: list[Question]) -> None:
    (height,) = asked[0].expression.free_symbols
    about = Asked({"batch": 2, "height": 8}, frozenset({"batch"}), (asked[0],),
                  {"batch": (), "height": (height,)})  # fmt: skip
    tried = list(trials(about))
    assert any(t.sizes["height"] % 3 == 0 and t.otherwise == (asked[0],) for t in tried)
    assert any(t.sizes["height"] % 3 and not t.otherwise for t in tried)
    assert {1, 2, 3} <= {t.sizes["batch"] for t in tried}
    assert {1, 3} <= {t.sizes["height"] for t in tried}
    assert any(t.sizes["height"] % 2 for t in tried if t.sizes["height"] > 8)


def test_inputs_of_other_sizes_hold_what_the_example_holds() -> None:
    tokens, zeros = torch.tensor([[3, 5, 7]]), torch.zeros(1, 4)
    one, two = at_sizes((tokens, zeros), [("n", 3), ("n", 4)], {"n": 50})
    assert one.shape == (50, 3) and set(one.unique().tolist()) == {3, 5, 7}
    assert two.shape == (50, 4) and not math.isclose(float(two.std()), 0.0)
    assert torch.equal(one, at_sizes((tokens,), [("n", 3)], {"n": 50})[0])
