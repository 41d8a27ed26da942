"""Gates that are no constants are refused by name; what only looks like one is compiled."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.errors import BadInput, Refused
from igc.testing import assert_equal, compile_double
from igc.testing.builder import randomise

X = (torch.randn(2, 6, generator=torch.Generator().manual_seed(0)),)


class Selector(nn.Module):
    """The layer that must be named: it selects between two features by `rule`."""

    def __init__(self, rule) -> None:
        super().__init__()
        self.rule = rule
        self.alpha = nn.Parameter(torch.linspace(-1, 1, 8))
        self.score = nn.Linear(6, 8)

    def forward(self, x: Tensor, own: Tensor, shared: Tensor) -> Tensor:
        return self.rule(self, x, own, shared)


class Net(nn.Module):
    def __init__(self, rule) -> None:
        super().__init__()
        self.shared, self.own, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 2)
        self.chooser = Selector(rule)
        randomise(self.modules(), torch.Generator().manual_seed(0))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.chooser(x, self.own(x), self.shared(x)))


def _blend(gate: Tensor, own: Tensor, shared: Tensor) -> Tensor:
    return gate * own + (1 - gate) * shared


def _gumbel(s, x, own, shared):
    logits = torch.stack([s.alpha, -s.alpha])
    return _blend(F.gumbel_softmax(logits, hard=True, dim=0)[0], own, shared)


def _straight_through_score(s, x, own, shared):
    soft = s.score(x).sigmoid()
    return _blend((soft > 0.5).to(x.dtype) - soft.detach() + soft, own, shared)


def _masked_fill_score(s, x, own, shared):
    keep = s.score(x) > 0
    return own.masked_fill(~keep, 0.0) + shared.masked_fill(keep, 0.0)


STOCHASTIC = {
    "bernoulli": lambda s, x, a, b: _blend(torch.bernoulli(s.alpha.sigmoid()), a, b),
    "rand": lambda s, x, a, b: torch.where(torch.rand(8) < s.alpha.sigmoid(), a, b),
    "rand_like": lambda s, x, a, b: _blend((torch.rand_like(a) < 0.5).to(a.dtype), a, b),
    "randn": lambda s, x, a, b: torch.where(s.alpha + torch.randn(8) > 0, a, b),
    "gumbel": _gumbel,
    "dropout left on": lambda s, x, a, b: _blend(F.dropout(s.alpha, 0.5, training=True), a, b),
    "dropout of a feature": lambda s, x, a, b: F.dropout(a, 0.5, training=True) + b,
    "channel dropout": lambda s, x, a, b: F.dropout1d(a[None], 0.5, training=True)[0] + b,
    "bernoulli in place": lambda s, x, a, b: _blend(
        torch.empty(8, dtype=x.dtype).bernoulli_(0.5), a, b
    ),
    "multinomial": lambda s, x, a, b: torch.where(
        torch.multinomial(s.alpha.exp(), 8, replacement=True) > 3, a, b
    ),
    "randperm": lambda s, x, a, b: torch.where(s.alpha[torch.randperm(8)] > 0, a, b),
}

DEPENDENT = {
    "where": lambda s, x, a, b: torch.where(s.score(x) > 0, a, b),
    "sigmoid threshold": lambda s, x, a, b: _blend((s.score(x).sigmoid() > 0.5).to(a.dtype), a, b),
    "lerp": lambda s, x, a, b: torch.lerp(b, a, (s.score(x) >= 0).to(a.dtype)),
    "sub_mul": lambda s, x, a, b: b + (s.score(x) > 0).to(a.dtype) * (a - b),
    "masked_fill": _masked_fill_score,
    "round": lambda s, x, a, b: _blend(s.score(x).sigmoid().round(), a, b),
    "straight-through": _straight_through_score,
    "one decision per picture": lambda s, x, a, b: torch.where(x.mean(1, keepdim=True) > 0, a, b),
    "axes by None": lambda s, x, a, b: _blend((x.mean(1) > 0).to(a.dtype)[:, None], a, b),
    "a part of a mask": lambda s, x, a, b: _blend((s.score(x) > 0).to(a.dtype)[:, 2:3], a, b),
    "one entry of a mask": lambda s, x, a, b: _blend(
        (s.score(x) > 0).to(a.dtype)[:, 2].reshape(-1, 1).transpose(0, 0), a, b
    ),
    "argmax": lambda s, x, a, b: _blend(s.score(x)[:, :2].argmax(1).view(-1, 1).to(a.dtype), a, b),
    "place of the maximum": lambda s, x, a, b: _blend(
        s.score(x)[:, :2].max(1, keepdim=True)[1].to(a.dtype), a, b
    ),
    "one-hot of the largest": lambda s, x, a, b: _blend(
        F.one_hot(s.score(x)[:, :2].argmax(1), 2)[:, :1].to(a.dtype), a, b
    ),
    "alpha plus input": lambda s, x, a, b: torch.where(s.alpha + s.score(x) > 0, a, b),
}


@pytest.mark.parametrize("rule", slow_but(list(STOCHASTIC)[:3], STOCHASTIC))
def test_a_stochastic_gate_is_refused_by_name(rule: str) -> None:
    with pytest.raises(Refused, match="chooser"):
        igc.compile(Net(STOCHASTIC[rule]), X)


@pytest.mark.parametrize("rule", DEPENDENT)
def test_a_gate_that_depends_on_the_input_is_refused_by_name(rule: str) -> None:
    with pytest.raises(Refused, match="chooser"):
        igc.compile(Net(DEPENDENT[rule]), X)


def test_the_message_is_one_line() -> None:
    with pytest.raises(BadInput) as caught:
        igc.compile(Net(STOCHASTIC["bernoulli"]), X)
    assert "\n" not in str(caught.value).strip()


HARMLESS = {
    "leaky ReLU by hand": lambda s, x, a, b: torch.where(a > 0, a, 0.1 * a) + b,
    "ReLU by hand": lambda s, x, a, b: a * (a > 0) + b * (b > 0).to(b.dtype),
    "hard swish by hand": lambda s, x, a, b: a * F.relu6(a + 3) / 6 + b,
    "a hard maximum": lambda s, x, a, b: (
        a * F.one_hot(a.argmax(1), 8) + 0.1 * a * (1 - F.one_hot(a.argmax(1), 8)) + b
    ),
    "clamp by hand": lambda s, x, a, b: torch.where(a > 1, torch.ones_like(a), a) + b,
    "ELU by hand": lambda s, x, a, b: torch.where(a > 0, a, a.exp() - 1) + b,
    "soft shrink by hand": lambda s, x, a, b: torch.sign(a) * F.relu(a.abs() - 0.3) + b,
    "maximum": lambda s, x, a, b: torch.maximum(a, b),
    "squeeze-excite": lambda s, x, a, b: a * s.score(x).sigmoid() + b,
    "hard sigmoid excite": lambda s, x, a, b: a * F.hardsigmoid(s.score(x)) + b,
    "gated linear unit": lambda s, x, a, b: a * torch.sigmoid(b),
    "dropout in evaluation": lambda s, x, a, b: F.dropout(a, 0.5, training=s.training) + b,
    "a constant gate": lambda s, x, a, b: torch.where(s.alpha > 0, a, b),
    "a rounded constant gate": lambda s, x, a, b: _blend(s.alpha.sigmoid().round(), a, b),
    "an arg-max gate": lambda s, x, a, b: _blend(
        F.one_hot(torch.stack([s.alpha, -s.alpha]).argmax(0), 2)[:, 0].to(a.dtype), a, b
    ),
    "a clamped (hard concrete) gate": lambda s, x, a, b: _blend(
        (s.alpha.mul(9).sigmoid() * 1.2 - 0.1).clamp(0, 1), a, b
    ),
    "a soft constant gate": lambda s, x, a, b: _blend(s.alpha.sigmoid(), a, b),
}


@pytest.mark.parametrize("rule", HARMLESS)
def test_what_only_looks_like_a_gate_is_compiled(rule: str) -> None:
    net = Net(HARMLESS[rule])
    assert_equal(net, compile_double(net, X), X)


class Masked(nn.Module):
    """Attention over tokens with a mask that is constant, given, or read off the token ids."""

    def __init__(self, mask: str) -> None:
        super().__init__()
        self.mask = mask
        self.words = nn.Embedding(9, 8)
        self.q, self.k, self.v, self.head = (nn.Linear(8, 8) for _ in range(4))
        randomise(self.modules(), torch.Generator().manual_seed(0))
        self.eval()

    def forward(self, ids: Tensor, pad: Tensor) -> Tensor:
        x = self.words(ids)
        scores = self.q(x) @ self.k(x).transpose(-2, -1) / math.sqrt(8)
        tokens = ids.shape[1]
        if self.mask == "causal":
            hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        elif self.mask == "given":
            scores = scores.masked_fill(pad[:, None, :], float("-inf"))
        elif self.mask == "additive":
            scores = scores + torch.where(pad[:, None, :], -1e9, 0.0).to(scores.dtype)
        elif self.mask == "from ids":
            scores = scores.masked_fill((ids == 0)[:, None, :], -1e9)
        elif self.mask == "zeroed padding":
            x = x * (ids != 0).unsqueeze(-1)
        return self.head(scores.softmax(-1) @ self.v(x))


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["causal", "given", "additive", "from ids", "zeroed padding"])
def test_attention_masks_are_no_gates(mask: str) -> None:
    ids = torch.tensor([[1, 4, 8, 0, 0], [3, 2, 5, 7, 0]])
    inputs = (ids, ids == 0)
    net = Masked(mask)
    static = compile_double(net, inputs)
    with torch.no_grad():
        torch.testing.assert_close(static(*inputs), net.double()(*inputs), rtol=1e-10, atol=1e-12)


class Decides(nn.Module):
    """A network whose *outputs* are decisions: a prediction is not a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        randomise(self.modules(), torch.Generator().manual_seed(0))
        self.eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.head(self.body(x).relu())
        return {"mask": logits.sigmoid() > 0.5, "class": logits.argmax(-1), "logits": logits}


def test_a_prediction_is_no_gate() -> None:
    net = Decides()
    assert_equal(net, compile_double(net, X), X)
