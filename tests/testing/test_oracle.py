"""The judge is judged: its count against hand-sliced networks, its asserts against wrong ones."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import igc
from igc.models.vit import ViT
from igc.testing import (
    architecture,
    assert_equal,
    assert_minimal,
    build,
    kernel_elements,
    needed_elements,
)
from igc.testing.oracle import needed_count

OPEN = torch.tensor([True, False, True, False])  # task a; task b has all gates closed


class Gated(nn.Module):
    """linear 3 -> 4, gate, linear 4 -> 2 per task; the mix is not read by anything."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.own_a, self.own_b = (nn.Linear(3, 4) for _ in range(3))
        self.head_a, self.head_b = nn.Linear(4, 2), nn.Linear(4, 2)
        self.alpha = nn.Parameter(torch.stack([OPEN.float() - 0.5, torch.full((4,), -1.0)]))
        self.eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        gate = (torch.sigmoid(self.alpha) > 0.5).to(x.dtype)
        psi, a, b = self.shared(x), self.own_a(x), self.own_b(x)
        a = gate[0] * a + (1 - gate[0]) * psi
        b = gate[1] * b + (1 - gate[1]) * psi
        return {"a": self.head_a(a.relu()), "b": self.head_b(b.relu())}


class Static(nn.Module):
    """`Gated` sliced by hand: own_a keeps rows 0 and 2, own_b nothing."""

    def __init__(self, gated: Gated, *, own_rows: tuple[int, ...] = (0, 2)) -> None:
        super().__init__()
        self.shared = copy.deepcopy(gated.shared)
        self.head_a, self.head_b = copy.deepcopy(gated.head_a), copy.deepcopy(gated.head_b)
        self.rows = list(own_rows)
        self.own_a = nn.Linear(3, len(own_rows))
        self.own_a.weight.data = gated.own_a.weight.data[self.rows]
        self.own_a.bias.data = gated.own_a.bias.data[self.rows]
        self.eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        psi = self.shared(x)
        a = psi.clone()
        a[:, [0, 2]] = self.own_a(x)[:, [self.rows.index(0), self.rows.index(2)]]
        return {"a": self.head_a(a.relu()), "b": self.head_b(psi.relu())}


X = (torch.zeros(2, 3),)


def test_needed_equals_the_hand_count() -> None:
    gated = Gated()
    needed = needed_elements(gated, X)
    assert torch.equal(needed["own_a.weight"], OPEN[:, None].expand(4, 3))
    assert not needed["own_b.weight"].any()
    assert needed["shared.weight"].all()
    assert needed["head_a.weight"].all()
    assert "alpha" not in needed
    assert needed_count(needed) == 4 * 3 + 2 * 3 + 2 * (2 * 4)
    assert kernel_elements(gated) == 3 * (4 * 3) + 2 * (2 * 4)


def test_vectors_are_counted_apart() -> None:
    needed = needed_elements(Gated(), X, vectors=True)
    assert torch.equal(needed["own_a.bias"], OPEN)
    assert not needed["own_b.bias"].any()


def test_a_straight_through_gate_does_not_leak() -> None:
    net, inputs = build(architecture("mlp", idiom="straight_through", pattern="closed"))
    needed = needed_elements(net, inputs)
    assert not any("alpha" in n or "beta" in n for n in needed)
    assert not any(m.any() for n, m in needed.items() if ".branches." in n)


def test_dead_relus_are_lost_only_on_request() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].bias[1] = -1e6
    assert needed_elements(net, X)["0.weight"].all()
    seen = needed_elements(net, X, dead_zones=True)
    assert seen["0.weight"].any(dim=1).tolist() == [True, False, True, True]
    assert not seen["2.weight"][:, 1].any()


def test_a_channel_of_zeros_needs_no_column() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        net[0].weight[1] = 0.0
        net[0].bias[1] = 0.0
    assert not needed_elements(net, X)["2.weight"][:, 1].any()


def test_inputs_may_come_from_a_function() -> None:
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))

    def first_two(generator: torch.Generator) -> tuple[Tensor]:
        return (torch.randint(0, 2, (8,), generator=generator),)

    assert (
        needed_elements(net, first_two)["0.weight"].any(dim=1).tolist() == [True] * 2 + [False] * 3
    )


def test_a_shared_kernel_counts_once() -> None:
    layer = nn.Linear(3, 3)
    tied = nn.Linear(3, 3)
    tied.weight = layer.weight
    assert kernel_elements(nn.Sequential(layer, layer, tied)) == 9


class Classifier(nn.Linear):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens[:, 0])


@pytest.mark.slow
def test_a_class_token_is_no_kernel_on_either_side() -> None:
    """1 x 1 x 8 has three axes and spans one: it is added to features, as a bias is.

    Counting what is needed by the number of axes, and what is held by the axes spanned, makes the
    static network look 8 elements short for every token it keeps.
    """
    torch.manual_seed(0)
    backbone = ViT(8, 1, 2, image=(8, 8), patch=4)
    net = igc.gate(backbone, {"a": Classifier(8, 3), "b": Classifier(8, 2)}, at="layer").eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "alpha" in name or "cls_token" in name:
                p.normal_()
    x = torch.randn(1, 3, 8, 8)
    static = igc.compile(net, x)
    kept = [p for n, p in static.named_parameters() if "cls_token" in n]
    assert sum(p.numel() for p in kept) == 3 * 8
    assert not any("cls_token" in n for n in needed_elements(net, (x,)))
    assert_minimal(net, static, (x,))
    vectors = needed_elements(net, (x,), vectors=True)
    assert sum(int(m.sum()) for n, m in vectors.items() if "cls_token" in n) == 3 * 8


def test_the_minimum_is_accepted() -> None:
    gated = Gated()
    assert_equal(gated, Static(gated), X)
    assert_minimal(gated, Static(gated), X)


def test_one_row_more_is_too_many() -> None:
    gated = Gated()
    wide = Static(gated, own_rows=(0, 2, 3))
    assert_equal(gated, wide, X)
    with pytest.raises(AssertionError, match=r"too many kernel elements: static holds 37.* 34"):
        assert_minimal(gated, wide, X)


def test_a_row_less_is_too_few() -> None:
    gated = Gated()
    static = Static(gated)
    static.head_b = nn.Linear(3, 2)
    with pytest.raises(AssertionError, match="too few"):
        assert_minimal(gated, static, X)


def _swap_rows(static: Static) -> None:
    static.own_a.weight.data = static.own_a.weight.data.flip(0)


def _drop_bias(static: Static) -> None:
    static.own_a.bias.data.zero_()


def _scale(static: Static) -> None:
    static.head_b.weight.data *= 1.01


def _last_bit(static: Static) -> None:
    static.double().shared.weight.data[0, 0] *= 1 + 1e-8


def _not_finite(static: Static) -> None:
    static.shared.bias.data[0] = float("nan")


@pytest.mark.parametrize("harm", [_swap_rows, _drop_bias, _scale, _last_bit, _not_finite])
def test_a_wrong_network_is_not_equal(harm) -> None:
    torch.manual_seed(3)  # so that no ReLU hides the harm
    gated = Gated()
    static = Static(gated)
    harm(static)
    with pytest.raises(AssertionError, match="relative error"):
        assert_equal(gated, static, X)


class _Wrap(nn.Module):
    def __init__(self, inner: nn.Module, change) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, x: Tensor):
        return self.change(self.inner(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: {"a": o["b"], "b": o["a"]}, r"\['a'\].*network's \['b'\]: outputs swapped"),
        (lambda o: {"b": o["b"], "c": o["a"]}, "structure differs"),
        (lambda o: [o["a"], o["b"]], "structure differs"),
        (lambda o: {"a": o["a"][:, :1], "b": o["b"]}, r"\(2, 2\) became .*\(2, 1\)"),
        (lambda o: {"a": o["a"].float(), "b": o["b"]}, r"float64 \(2, 2\) became torch.float32"),
    ],
)  # fmt: skip
def test_a_wrong_structure_is_named(change, message: str) -> None:
    gated = Gated()
    with pytest.raises(AssertionError, match=message):
        assert_equal(gated, _Wrap(gated, change), X)


@pytest.mark.parametrize("pattern", ["closed", "random", "one", "cut"])
def test_leaving_the_network_as_it_is_is_equal_but_not_minimal(pattern: str) -> None:
    net, inputs = build(architecture("residual_cnn", pattern=pattern))
    assert_equal(net, net, inputs)
    with pytest.raises(AssertionError, match="too many"):
        assert_minimal(net, net, inputs)


@pytest.mark.slow
def test_the_count_does_not_depend_on_the_idiom_nor_on_the_draws() -> None:
    counts = set()
    for idiom in ("mul_add", "where", "lerp", "sub_mul", "masked_fill", "straight_through"):
        net, inputs = build(architecture("residual_cnn", idiom=idiom, tasks=3))
        counts |= {needed_count(needed_elements(net, inputs, seed=s)) for s in (0, 1)}
    assert len(counts) == 1


class Selecting(nn.Module):
    """Two paths weighed by a softmax of numbers so far apart that it is 0 or 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.one, self.other = (nn.Conv2d(3, 4, 1) for _ in range(3))
        with torch.no_grad():
            self.scores.weight.mul_(1e9)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.scores(x)
        share = torch.stack([scores, -scores], 1).softmax(dim=1)
        y: Tensor = share[:, 0] * self.one(x) + F.softmax(share, 1)[:, 1] * self.other(x)
        return y


def test_a_saturated_softmax_still_reads_its_scores() -> None:
    torch.manual_seed(0)
    net = Selecting()
    x = torch.randn(2, 3, 1, 1)
    assert bool(needed_elements(net, (x,), draws=1)["scores.weight"].all())
    assert not bool(needed_elements(net, (x,), draws=1, dead_zones=True)["scores.weight"].any())
