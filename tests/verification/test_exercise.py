"""What the inputs did not put to the test is said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from verify_nets import Pair

from igc.capture import capture
from igc.verification import verify
from igc.verification.exercise import Exercise

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Sleepy(nn.Module):
    """Outputs that hardly answer, and ReLUs that never fire."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.alive, self.dead = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.dead.weight.zero_()
            self.dead.bias.fill_(-1.0)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y, z = torch.relu(self.alive(x)), torch.relu(self.dead(x))
        return {
            "awake": y,
            "constant": torch.sigmoid(z.mean((2, 3))),
            "partly": torch.cat([y.mean((2, 3)), z.mean((2, 3))], 1),
            "saturated": torch.clamp(1e9 * x + 0.5, 0, 1).round(),
        }


def test_outputs_that_do_not_answer_and_dead_rectifiers_are_told() -> None:
    program = capture(Sleepy().eval(), X)
    check = verify(program, program)
    assert check.passed
    told = [n.removeprefix("not exercised: ") for n in check.notes if "not exercised" in n]
    assert "output 'constant' was constant on every input" in told
    assert "2 of 7 channels of output 'partly' were constant on every input: 5, 6" in told
    assert any(t.startswith("output 'saturated' was 0 or 1 on every input") for t in told)
    assert any(t.startswith("2 of 7 ReLU channels were 0 on every input") for t in told)
    assert not [t for t in told if "awake" in t]
    assert "note: not exercised" in str(check)


def test_networks_that_answer_are_not_spoken_of(nets: Pair) -> None:
    assert not [n for n in verify(nets.reference, nets.candidate).notes if "exercised" in n]


@pytest.mark.parametrize("later", [torch.tensor([[1.0, 2.5]]), torch.tensor([[0.0, 3.0]])])
def test_what_answers_later_is_exercised(later: Tensor) -> None:
    seen = Exercise()
    seen.add("y", torch.tensor([[1.0, 2.0]]).expand(8, 2), 1)
    assert list(seen.notes()) == ["not exercised: output 'y' was constant on every input"]
    seen.add("y", later, 1)
    assert "constant on every input" not in " ".join(seen.notes()).replace("channels", "")[:40]
