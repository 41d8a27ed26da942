"""Where the bounds come from: no false alarm on honest rounding, no blind spot."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from verify_nets import Pair, inputs

from igc.capture import capture
from igc.program import InputSpec, Program
from igc.program.decisions import decided
from igc.verification import Check, Leg, OutputCheck, verify
from igc.verification.bounds import float64_leg, largest, own_leg
from igc.verification.draws import draws
from igc.verification.inputs import of_program
from igc.verification.result import group
from igc.verification.yardstick import (
    Yardstick,
    rounded_otherwise,
    yardstick,
)

aten = torch.ops.aten
WIDTHS = (24, 40, 56, 40, 24, 5)


def tower(seed: int, shuffled: bool) -> Program:
    """A deep network with residuals; `shuffled` renumbers hidden channels, nothing else."""
    g = torch.Generator().manual_seed(seed)
    graph = fx.Graph()
    constants: dict[str, Tensor] = {}
    x = graph.placeholder("x")
    order = torch.arange(WIDTHS[0])
    for i, (a, b) in enumerate(itertools.pairwise(WIDTHS)):
        weight = torch.randn(b, a, generator=g) * (2 / a) ** 0.5
        bias = torch.randn(b, generator=g) * 0.1
        new = torch.randperm(b, generator=g)
        new = new if shuffled and i < len(WIDTHS) - 2 else torch.arange(b)
        constants[f"w{i}"] = weight[new][:, order]
        constants[f"b{i}"] = bias[new]
        order = new
        w, v = graph.get_attr(f"w{i}"), graph.get_attr(f"b{i}")
        x = graph.call_function(aten.linear.default, (x, w, v))
        if i < len(WIDTHS) - 2:
            x = graph.call_function(aten.gelu.default, (x,))
    graph.output([x])
    return Program(
        graph=graph,
        constants=constants,
        inputs=(InputSpec("x", ("n", WIDTHS[0]), torch.float32),),
        outputs=("y",),
        out_spec=torch.utils._pytree.tree_structure({"y": 0}),
        sizes={"n": 2},
        dtype=torch.float32,
    )


@pytest.mark.parametrize("seed", range(60))
def test_no_false_alarm_when_only_the_order_of_summation_differs(seed: int) -> None:
    check = verify(tower(seed, False), tower(seed, True))
    assert check.passed, str(check)
    legs = check.outputs["y"].legs
    assert max(leg.strain for leg in legs if "own error" in leg.bound_from) < 0.7


@pytest.mark.parametrize("seed", range(10))
def test_a_hundredth_of_a_percent_is_seen_in_float32(seed: int) -> None:
    other = tower(seed, True)
    other.constants["w2"] = other.constants["w2"] * 1.0001
    check = verify(tower(seed, False), other)
    assert any(not leg.passed for leg in check.outputs["y"].legs if "float32" in leg.way)


def half(program: Program, dtype: torch.dtype) -> Program:
    constants = {k: v.to(dtype) for k, v in program.constants.items()}
    specs = tuple(replace(s, dtype=dtype) for s in program.inputs)
    return replace(program, constants=constants, inputs=specs, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(5))
def test_low_precision_has_its_own_bound(seed: int, dtype: torch.dtype) -> None:
    reference, candidate = (half(tower(seed, s), dtype) for s in (False, True))
    check = verify(reference, candidate)
    assert check.passed, str(check)
    own = [leg for leg in check.outputs["y"].legs if "float64" not in leg.way]
    assert own
    assert all(leg.bound < 0.5 * leg.scale for leg in own)
    candidate.constants["w2"] = candidate.constants["w2"] * 1.01
    assert not verify(reference, candidate).passed


def test_the_bound_grows_with_the_reference_s_own_error() -> None:
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64)
    rough = torch.tensor([1.0, 2.001])
    yard = yardstick(rough, exact)
    assert yard.error.tolist() == pytest.approx([1e-3], rel=1e-3)
    near = own_leg("y", "way", "inputs", yard, torch.tensor([1.0, 2.010]))
    assert near.passed
    assert near.bound == pytest.approx(16e-3, rel=1e-2)
    assert not own_leg("y", "way", "inputs", yard, torch.tensor([1.0, 2.03])).passed
    clean = yardstick(exact.float(), exact)
    leg = own_leg("y", "way", "inputs", clean, torch.tensor([1.0, 2.00001]))
    assert leg.bound == pytest.approx(32 * torch.finfo(torch.float32).eps * 2)
    assert not leg.passed


def test_float64_bound_follows_cancellation_but_stays_tight_without() -> None:
    exact = torch.tensor([1e-12], dtype=torch.float64)
    error = torch.tensor([1e-6], dtype=torch.float64)
    leg = float64_leg("y", "i", Yardstick(exact, error), exact + 1e-16, torch.float32)
    assert leg.passed
    exact = torch.tensor([1.0], dtype=torch.float64)
    yard = Yardstick(exact, error)
    assert float64_leg("y", "i", yard, exact + 9e-11, torch.float32).passed
    assert not float64_leg("y", "i", yard, exact + 2e-10, torch.float32).passed


def test_equal_infinities_are_equal_and_others_are_not() -> None:
    inf = float("inf")
    yard = Yardstick(torch.tensor([inf, 1.0, float("nan")]), torch.zeros(1))
    assert own_leg("y", "w", "i", yard, torch.tensor([inf, 1.0, float("nan")])).passed
    assert not own_leg("y", "w", "i", yard, torch.tensor([-inf, 1.0, float("nan")])).passed
    assert "not comparable" in own_leg("y", "w", "i", yard, torch.tensor([0.0, 1.0, 2.0])).problem
    assert largest(torch.tensor([inf, -3.0])) == 3.0


def test_nothing_compared_is_not_a_pass() -> None:
    assert not Check("a", "b").passed
    leg = Leg("y", "w", "i", 0.0, 1.0, 1.0, "b")
    assert Check("a", "b", group([leg])).passed
    assert not Check("a", "b", group([leg]), failures=("names",)).passed
    assert OutputCheck("y", (leg,)).max_rel == 0.0


class Threshold(nn.Module):
    """A gate that float32 holds closed and float64 would open."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([1e-8, 1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(torch.sigmoid(self.alpha) > 0.5, F.relu(x), -x)


def test_gates_are_decided_in_the_precision_of_the_network() -> None:
    net = Threshold()
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    program = capture(net, x)
    kept = decided(program)
    assert [n for n in kept.graph.nodes if n.target == aten.gt.Scalar] == []

    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([-x[:, :1], F.relu(x[:, 1:2]), -x[:, 2:]], 1)

    assert verify(net, Cut(), x).passed


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) and torch.equal(a.isnan(), b.isnan())


def test_draws_are_always_the_same(nets: Pair) -> None:
    one, two = (draws(of_program(nets.reference), None)[0] for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert a.label == b.label
        assert all(map(same, a.tensors, b.tensors))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids).sum(1)


def test_indices_stay_inside_the_table() -> None:
    program = capture(Words(), torch.zeros(2, 5, dtype=torch.int64))
    found, _ = draws(of_program(program), None)
    seen = torch.cat([d.tensors[0].flatten() for d in found])
    assert 2 < int(seen.max()) < 7
    assert verify(program, program).passed


def test_outputs_of_the_module_itself_are_compared_not_only_of_its_capture(nets: Pair) -> None:
    """A module that changes after its capture is caught: the own-precision leg runs the module."""

    class Drifted(nn.Module):
        def __init__(self, program: Program) -> None:
            super().__init__()
            self.program = program
            self.net = nets.sliced

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {t: v * 1.01 for t, v in self.net(x).items()}

    check = verify(nets.reference, Drifted(nets.candidate), inputs())
    assert not check.passed
    bad = {leg.way for out in check.outputs.values() for leg in out.legs if not leg.passed}
    assert bad == {"float32 in torch"}


class Mixed(nn.Module):
    """Two branches mixed by the softmax of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(2)
        self.beta = nn.Parameter(torch.randn(4, 2, generator=g))

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.beta, 1)
        return weights[:, 0] * x + weights[:, 1] * x.sin()


class Folded(nn.Module):
    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.weights[:, 0] * x + self.weights[:, 1] * x.sin()


def test_constants_may_be_folded_in_float64_or_in_the_network_s_own_precision() -> None:
    net = Mixed()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
    reference = capture(net, x)
    program = capture(Folded(torch.softmax(net.beta.detach(), 1)), x)

    def holding(weights: Tensor) -> Program:
        kinds = {"weights": torch.float32}  # what it counts as, wherever it is stored
        return replace(program, constants={"weights": weights}, kinds=kinds)

    rounded = torch.softmax(net.beta.detach(), 1)
    precise = torch.softmax(net.beta.detach().double(), 1)
    assert not torch.equal(rounded.double(), precise)
    assert verify(reference, holding(rounded)).passed
    assert verify(reference, holding(precise)).passed
    half_and_half = torch.cat([rounded[:2].double(), precise[2:]])
    assert not verify(reference, holding(half_and_half)).passed
    assert not verify(reference, holding(precise + 1e-7)).passed


class Logistic(nn.Module):
    """x -> r x (1 - x), often: each step doubles a rounding error."""

    def __init__(self, multiplied_out: bool, r: float = 3.9) -> None:
        super().__init__()
        self.multiplied_out = multiplied_out
        self.r = nn.Parameter(torch.tensor(r))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(14):
            x = self.r * x - self.r * x * x if self.multiplied_out else self.r * x * (1 - x)
        return x


@pytest.mark.slow
@pytest.mark.parametrize("at", [0.9703746438026428, 0.8118910193443298])
def test_a_reference_that_was_lucky_in_its_rounding_is_asked_again(at: float) -> None:
    """Its one run errs by far less than the next value would; the other form errs as usual."""
    x = torch.tensor([[at]])
    check = verify(Logistic(False), Logistic(True), x)
    (output,) = check.outputs.values()
    assert check.passed, str(check)
    assert any("5 runs" in leg.bound_from for leg in output.legs)
    assert not verify(Logistic(False), Logistic(True, 3.9005), x).passed


def test_more_runs_do_not_excuse_a_difference() -> None:
    other = tower(0, True)
    other.constants["w2"] = other.constants["w2"] * 1.0001
    legs = verify(tower(0, False), other).outputs["y"].legs
    wrong = [leg for leg in legs if not leg.passed and "float32" in leg.way]
    assert wrong
    assert all("5 runs" in leg.bound_from for leg in wrong)


def test_inputs_are_rounded_otherwise_by_no_more_than_one_unit() -> None:
    x, ids = torch.linspace(-3.0, 3.0, 101), torch.arange(101)
    sets = list(rounded_otherwise((x, ids), torch.float32))
    assert len(sets) == 4
    for moved, same in sets:
        gap = (moved.double() - x.double()).abs()
        assert moved.dtype == x.dtype
        assert torch.equal(same, ids)
        assert 0 < int((gap > 0).sum()) < x.numel()
        assert bool((gap <= 2 * torch.finfo(torch.float32).eps * x.abs()).all())
    assert list(rounded_otherwise((ids,), torch.float32)) == []
