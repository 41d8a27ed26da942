"""Equations 2-5, written out by hand for two layers and for every structure a backbone may have.

The hand-written networks read the gated network's state_dict and nothing else of igc.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_backbones import (
    VIT_LAYERS,
    Pyramid,
    Residual,
    TinyViT,
    assert_close,
    heads,
    scrambled,
)
from torch import Tensor, nn

from igc.nn import GatedNetwork, gate
from igc.nn.gate_points import At

TASKS = ["a", "b", "c"]
Values = dict[str, Tensor]


class ByHand:
    """Reads weights by branch and applies equations 2, 3 and 5."""

    def __init__(self, net: GatedNetwork, axis: int = 1) -> None:
        self.state = net.state_dict()
        self.axis = axis

    def w(self, branch: str, name: str) -> Tensor:
        return self.state[f"branches.{branch}.{name}"]

    def conv(self, branch: str, name: str, x: Tensor, **options: int) -> Tensor:
        bias = self.state.get(f"branches.{branch}.{name}.bias")
        return F.conv2d(x, self.w(branch, f"{name}.weight"), bias, **options)

    def linear(self, branch: str, name: str, x: Tensor) -> Tensor:
        return x @ self.w(branch, f"{name}.weight").T + self.w(branch, f"{name}.bias")

    def norm(self, branch: str, name: str, x: Tensor) -> Tensor:
        p = {k: self.w(branch, f"{name}.{k}") for k in ("weight", "bias")}
        mean, var = (self.w(branch, f"{name}.running_{k}") for k in ("mean", "var"))
        unit = (x - self.along(mean)) / torch.sqrt(self.along(var) + 1e-5)
        return unit * self.along(p["weight"]) + self.along(p["bias"])

    def along(self, vector: Tensor) -> Tensor:
        return vector if self.axis == -1 else vector[:, None, None]

    def gated(self, layer: str, raw: Values) -> Values:
        """phi' of every task and psi' of the shared branch, from phi and psi."""
        read = {}
        for task in TASKS:
            alpha = self.state[f"gates.{layer}.{task}.alpha"]
            g = self.along((1 / (1 + torch.exp(-alpha)) > 0.5).to(alpha.dtype))
            read[task] = g * raw[task] + (1 - g) * raw["shared"]
        beta = self.state.get(f"mixes.{layer}.beta")
        if beta is not None:
            weights = beta.exp() / beta.exp().sum(1, keepdim=True)
            terms = [self.along(weights[:, t]) * read[task] for t, task in enumerate(TASKS)]
            read["shared"] = torch.stack(terms).sum(0)
        return read


def each(read: Values, op: Callable[[str, Tensor], Tensor]) -> Values:
    return {branch: op(branch, x) for branch, x in read.items()}


def check(
    backbone: nn.Module, at: At, by_hand: Callable[[ByHand, Values], Values], axis: int = 1
) -> None:
    net = scrambled(gate(backbone, heads("abc"), at=at))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        actual = net(x)
        expected = by_hand(ByHand(net, axis), dict.fromkeys(["shared", *TASKS], x))
    assert list(actual) == TASKS
    for task in TASKS:
        assert_close(actual[task], expected[task])


def test_two_layers() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 4, 3))

    def by_hand(h: ByHand, x: Values) -> Values:
        psi = each(x, lambda b, v: h.conv(b, "0", v, padding=1).relu())
        psi = h.gated("0", psi)
        return h.gated("2", each(psi, lambda b, v: h.conv(b, "2", v)))

    check(backbone, "layer", by_hand)


def residual_by_hand(h: ByHand, x: Values, at: str) -> Values:
    """`at="block"` gates after the addition and its ReLU, `at="layer"` every conv-norm unit."""

    def unit(layer: str, raw: Values) -> Values:
        return h.gated(layer, raw) if at == "layer" else raw

    x = unit("stem", each(x, lambda b, v: h.conv(b, "stem", v, padding=1).relu()))
    for block, stride in (("layer1.0", 1), ("layer2.0", 2)):
        key = block.replace(".", "_")
        skip = x
        if stride == 2:
            skip = unit(
                f"{key}_down", each(x, lambda b, v: h.conv(b, "layer2.0.down", v, stride=2))
            )

        def first(b: str, v: Tensor, block: str = block, stride: int = stride) -> Tensor:
            out = h.conv(b, f"{block}.conv1", v, stride=stride, padding=1)
            return h.norm(b, f"{block}.bn1", out).relu()

        def second(b: str, v: Tensor, block: str = block) -> Tensor:
            return h.norm(b, f"{block}.bn2", h.conv(b, f"{block}.conv2", v, padding=1))

        y = unit(f"{key}_conv2", each(unit(f"{key}_conv1", each(x, first)), second))
        x = {b: (y[b] + skip[b]).relu() for b in y}
        x = h.gated(key, x) if at == "block" else x
    return each(x, lambda b, v: v.mean((2, 3)))


@pytest.mark.parametrize("at", ["block", "layer"])
def test_residual_blocks(at: str) -> None:
    check(Residual(), at, lambda h, x: residual_by_hand(h, x, at))


def test_multi_scale_reads_the_gated_value() -> None:
    """The pyramid's lateral and top-down paths, and its coarse output, read gated features."""
    net = scrambled(gate(Pyramid(), heads("abc"), at="layer"))
    as_dict = gate(Pyramid(as_dict=True), heads("abc"), at="layer").double().eval()
    as_dict.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    h = ByHand(net)
    low = each(dict.fromkeys(["shared", *TASKS], x), lambda b, v: h.conv(b, "low", v, padding=1))
    low = h.gated("low", each(low, lambda b, v: v.relu()))
    high = each(low, lambda b, v: h.conv(b, "high", v, stride=2, padding=1).relu())
    high = h.gated("high", high)
    lateral = h.gated("lateral", each(low, lambda b, v: h.conv(b, "lateral", v)))
    with torch.no_grad():
        actual, in_dict = net(x), as_dict(x)
    for task in TASKS:
        top = high[task].repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert isinstance(actual[task], list)
        assert list(in_dict[task]) == ["fine", "coarse"]
        for features in (actual[task], list(in_dict[task].values())):
            assert_close(features[0], lateral[task] * top)
            assert_close(features[1], high[task])


def test_transformer_layers_gate_the_embedding_axis() -> None:
    """Appendix C: q, k, v, the projection and both feed-forward linears of a plain ViT."""

    def layer_norm(h: ByHand, b: str, name: str, v: Tensor) -> Tensor:
        return F.layer_norm(v, v.shape[-1:], h.w(b, f"{name}.weight"), h.w(b, f"{name}.bias"))

    def embed(h: ByHand, b: str, v: Tensor) -> Tensor:
        v = h.conv(b, "patch", v, stride=4).flatten(2).permute(0, 2, 1)
        return torch.cat([h.w(b, "token").repeat(len(v), 1, 1), v], 1) + h.w(b, "position")

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (q, k, v))
        return ((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2)

    def by_hand(h: ByHand, x: Values) -> Values:
        x = each(x, lambda b, v: embed(h, b, v))
        y = each(x, lambda b, v: layer_norm(h, b, "norm1", v))
        q, k, v = (h.gated(n, each(y, lambda b, v, n=n: h.linear(b, n, v))) for n in "qkv")
        y = {b: attention(q[b], k[b], v[b]) for b in x}
        y = h.gated("proj", each(y, lambda b, v: h.linear(b, "proj", v)))
        x = {b: x[b] + y[b] for b in x}
        y = each(x, lambda b, v: h.linear(b, "fc1", layer_norm(h, b, "norm2", v)))
        y = each(h.gated("fc1", y), lambda b, v: h.linear(b, "fc2", F.gelu(v)))
        y = h.gated("fc2", y)
        return {b: x[b] + y[b] for b in TASKS}

    check(TinyViT(), VIT_LAYERS, by_hand, axis=-1)


@pytest.mark.parametrize("tasks", range(1, 9))
@pytest.mark.parametrize("at", ["block", "layer"])
def test_fresh_branches_agree_with_the_backbone(tasks: int, at: str) -> None:
    """All branches are copies at first, so no gate, open or closed, changes any output."""
    backbone = Residual().double().eval()
    net = gate(backbone, heads("abcdefgh"[:tasks]), at=at).double().eval()
    for gates in net.gates.values():
        for each_gate in gates.values():
            nn.init.normal_(each_gate.alpha)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for output in net(x).values():
        assert_close(output, backbone(x))


@pytest.mark.parametrize(("init", "branch"), [(1.0, "task"), (-1.0, "shared"), (0.0, "shared")])
def test_all_open_is_single_task_and_all_closed_is_shared(init: float, branch: str) -> None:
    net = gate(Residual(), heads("abc"), at="layer", init=init)
    alphas = {name: value.clone().double() for name, value in net.state_dict().items()}
    scrambled(net)
    for name, value in net.state_dict().items():
        if name.endswith("alpha"):
            value.copy_(alphas[name])
    plain = Residual().double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    single = {}
    for name in ("shared", "a"):
        prefix = f"branches.{name}."
        state = net.state_dict().items()
        plain.load_state_dict({k.removeprefix(prefix): v for k, v in state if k.startswith(prefix)})
        single[name] = plain(x)
    if branch == "task":
        assert_close(net(x)["a"], single["a"])
    else:  # the skip is each branch's own sum, and all sums are alike when every gate is closed
        assert_close(net(x)["a"], single["shared"])
