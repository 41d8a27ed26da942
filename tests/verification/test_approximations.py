"""onnxruntime's sigmoid is exact to 1e-7, not to 1e-7 of its value: no fault of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.errors import BadInput
from igc.onnx_files.approximations import ABSOLUTE, TIMES_OPERAND, Approximated
from igc.verification import bounds as compare
from igc.verification.comparison import Comparison
from igc.verification.inputs import Draw
from igc.verification.result import Leg
from igc.verification.torch_side import TorchSide


class Closed(nn.Module):
    """Gates that are all but closed, and a scale that makes up for it."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.sigmoid(self.first(x) + self.at) * 1e7)
        return y


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("at", [-8.0, -16.0])
def test_small_sigmoids_agree_and_a_difference_is_seen(
    tmp_path: Path, at: float, wrong: bool
) -> None:
    """At -16 nothing is left of them in onnxruntime: a difference is no pass even so."""
    torch.manual_seed(0)
    net, x = Closed(at).eval(), torch.randn(4, 3, 8, 8)
    static = igc.compile(net, x)
    if wrong:
        with torch.no_grad():
            next(p for p in static.parameters() if p.ndim == 4).mul_(3 if at < -10 else 1.2)
    igc.export_onnx(static, tmp_path / "net.onnx", simplify=False)
    check = igc.verify(net, tmp_path / "net.onnx", x)
    assert check.passed != wrong, str(check)
    if not wrong:
        assert any(
            "as exact as onnxruntime" in leg.bound_from for leg in check.outputs["output"].legs
        )


FUNCTIONS = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "elu": F.elu, "silu": F.silu, "gelu": F.gelu,
    "mish": F.mish, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid, "selu": F.selu,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_move_by_no_more_than_is_said(name: str) -> None:
    x = torch.linspace(-20, 20, 1001)
    plain = FUNCTIONS[name](x)
    with Approximated(0):
        moved = FUNCTIONS[name](x)
    with Approximated(0):
        again = FUNCTIONS[name](x)
    unit = torch.finfo(torch.float32).eps
    most = ABSOLUTE[name] * unit if name in ABSOLUTE else TIMES_OPERAND[name] * unit * x.abs()
    gap = (moved.double() - plain.double()).abs()
    assert torch.equal(moved, again)
    assert gap.max() > 0
    assert (gap <= most + unit * plain.abs()).all()


def test_in_place_functions_move_their_operand_and_others_none() -> None:
    x = torch.linspace(-3, 3, 101)
    with Approximated(1):
        a, b = F.silu(x), F.silu(x.clone(), inplace=True)
        same = torch.relu(x) + 1
    assert a.shape == b.shape
    assert (a - b).abs().max() < 2e-6
    assert torch.equal(same, torch.relu(x) + 1)


class Switch(nn.Module):
    """Where the picture is bright enough, the last digits of a convolution decide everything."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.first, self.last, self.at = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), at

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        bright = torch.relu(x.abs().amax() - self.at).clamp(max=1.0)
        out: Tensor = self.last(y + 1e3 * bright * torch.sin(1e7 * y))
        return out


def test_inputs_on_which_the_reference_has_no_digits_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(compare, "MULTIPLE", 0.01)  # chaos seldom lies beyond 16 times itself
    net, bright = Switch(12.0).eval(), Switch(0.0).eval()
    bright.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 8, 8)
    igc.export_onnx(igc.compile(net, x), tmp_path / "net.onnx")
    check = igc.verify(net, tmp_path / "net.onnx")
    assert check.passed, str(check)
    assert any("own rounding error" in note and "times 30" in note for note in check.notes)
    assert check.outputs["output"].legs
    # Nothing else is left to compare: no pass.
    check = igc.verify(bright, tmp_path / "net.onnx")
    assert not check.passed
    assert any("own rounding error" in note for note in check.notes)


def test_inputs_that_are_left_out_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a leg set aside nor the word that an output was compared soundly."""

    def partly(self: Comparison, *_: object) -> None:
        leg = Leg("y", "way", "tried", 1.0, 1.0, 0.5, "")
        self.ledger.lost.append((leg, torch.ones(1, dtype=torch.bool)))
        self.ledger.sound["y", "way"] = torch.ones(1, dtype=torch.bool)
        raise BadInput("too large")

    monkeypatch.setattr(Comparison, "_compare", partly)
    side = TorchSide("network", capture(nn.ReLU(), torch.zeros(1)))
    comparison = Comparison(side, side, [], [])
    comparison.add(Draw("tried", (torch.zeros(1),), optional=True))
    assert comparison.ledger.judged() == []
    assert not comparison.ledger.sound
    with pytest.raises(BadInput):
        comparison.add(Draw("given", (torch.zeros(1),)))


SUMMING = {
    "instance norm": nn.InstanceNorm2d(4, affine=True), "layer norm": nn.LayerNorm(16),
    "group norm": nn.GroupNorm(2, 4), "pool": nn.AdaptiveAvgPool2d(1), "window": nn.AvgPool2d(16),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMMING)
def test_sums_of_equal_numbers_move_for_all_that_read_them(name: str) -> None:
    """A mean that is off shifts everything behind a norm, which pooling does not average out."""
    x = torch.full((2, 4, 16, 16), 0.3)
    plain = SUMMING[name](x).mean((2, 3))
    with torch.no_grad(), Approximated(0, sums=True):
        moved = SUMMING[name](x).mean((2, 3))
    with torch.no_grad(), Approximated(0):
        same = SUMMING[name](x).mean((2, 3))
    assert (moved - plain).abs().max() > 2 * torch.finfo(torch.float32).eps
    assert torch.equal(same, plain)


def test_norms_that_add_up_nothing_do_not_move() -> None:
    norm, x = nn.BatchNorm2d(4).eval(), torch.full((2, 4, 16, 16), 0.3)
    with torch.no_grad(), Approximated(0, sums=True):
        assert torch.equal(norm(x), x / (1 + 1e-5) ** 0.5)
