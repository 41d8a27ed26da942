"""Equation 4, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_backbones import heads
from torch import nn

from igc.errors import BadInput
from igc.nn import GatedNetwork, gate, sparsity_loss


def network() -> GatedNetwork:
    """Two layers of 2 and 4 channels; the probabilities of the gates are written below."""
    net = gate(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 1)), heads("ab"), at="layer")
    net.double()
    probabilities = {
        ("0", "a"): [0.9, 0.5],
        ("1", "a"): [0.8, 0.8, 0.6, 0.2],
        ("0", "b"): [0.1, 0.3],
        ("1", "b"): [0.2, 0.2, 0.2, 0.6],
    }
    with torch.no_grad():
        for (layer, task), p in probabilities.items():
            net.gates[layer][task].alpha.copy_(torch.logit(torch.tensor(p, dtype=torch.float64)))
    return net


OPEN_A = (0.7 + 0.6) / 2  # every layer weighs the same, whatever its width
OPEN_B = (0.2 + 0.3) / 2


@pytest.mark.parametrize(
    ("targets", "kind", "expected"),
    [
        ({"a": 0.5, "b": 0.1}, "hinge", ((OPEN_A - 0.5) + (OPEN_B - 0.1)) / 2),
        ({"a": 0.5, "b": 0.5}, "hinge", (OPEN_A - 0.5) / 2),
        ({"b": 0.0, "a": 1.0}, "hinge", OPEN_B / 2),
        ({"a": 0.7, "b": 0.25}, "hinge", 0.0),
        (0.2, "hinge", ((OPEN_A - 0.2) + (OPEN_B - 0.2)) / 2),
        (None, "l1", (OPEN_A + OPEN_B) / 2),
        ({"a": 0.5, "b": 0.5}, "l1", (OPEN_A + OPEN_B) / 2),
    ],
)
def test_values(targets: dict[str, float] | float | None, kind: str, expected: float) -> None:
    loss = sparsity_loss(network(), targets, kind=kind)
    assert loss.shape == ()
    assert math.isclose(float(loss.detach()), expected, rel_tol=1e-12, abs_tol=1e-15)


def test_gradient_pulls_only_the_tasks_above_their_target() -> None:
    net = network()
    sparsity_loss(net, {"a": 0.5, "b": 0.5}).backward()
    p = torch.tensor([0.9, 0.5], dtype=torch.float64)
    by_hand = p * (1 - p) / (2 * 2 * 2)  # tasks, layers, channels
    torch.testing.assert_close(net.gates["0"]["a"].alpha.grad, by_hand, rtol=1e-12, atol=0)
    assert not net.gates["0"]["b"].alpha.grad.any()


def test_a_wrapped_network() -> None:
    net = network()
    wrapped = nn.DataParallel(net)
    assert torch.equal(sparsity_loss(wrapped, kind="l1"), sparsity_loss(net, kind="l1"))


@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        ({"a": 0.5, "b": 0.5}, "l2", "unknown kind of sparsity loss 'l2'"),
        (None, "hinge", "needs targets"),
        ({"a": 0.5}, "hinge", r"missing \['b'\]"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "hinge", r"unknown \['c'\]"),
        ({"a": 0.5, "b": 1.5}, "hinge", "target 1.5 of task 'b'"),
        ({"a": -0.1, "b": 0.5}, "hinge", "target -0.1 of task 'a'"),
        ({"a": math.nan, "b": 0.5}, "hinge", "target nan of task 'a'"),
    ],
)
def test_bad_arguments(targets: dict[str, float] | None, kind: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        sparsity_loss(network(), targets, kind=kind)


def test_a_network_of_another_make() -> None:
    with pytest.raises(BadInput, match=r"made by igc\.gate, not Linear"):
        sparsity_loss(nn.Linear(2, 2), {})
