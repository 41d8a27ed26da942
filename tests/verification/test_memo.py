"""What the reference computed is used again, and only for the same inputs and precision."""

from __future__ import annotations

import copy

import pytest
import torch
from compiled import compiled
from torch import Tensor, nn

import igc
from igc.testing import architecture, build
from igc.verification.side import Memo
from igc.verification.torch_side import TorchSide

Nets = tuple[nn.Module, tuple[Tensor, ...], igc.StaticNetwork]


@pytest.fixture(scope="module")
def nets() -> Nets:
    net, inputs = build(architecture("mlp", tasks=2, seed=4))
    return net, inputs, compiled(net, inputs).static


def test_a_second_comparison_does_not_run_the_reference(
    nets: Nets, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, inputs, static = nets
    memo: Memo = {}
    first = igc.verify(net, static, inputs, memo=memo)
    runs = []
    own = TorchSide.own
    monkeypatch.setattr(
        TorchSide, "own", lambda side, given: runs.append(side.label) or own(side, given)
    )
    again = igc.verify(net, static, inputs, memo=memo)
    assert again.to_dict() == first.to_dict()
    assert runs  # the candidate
    assert not [label for label in runs if label.startswith("reference")]
    igc.verify(net, static, inputs)
    assert [label for label in runs if label.startswith("reference")]


def test_a_memo_does_not_hide_a_difference(nets: Nets) -> None:
    net, inputs, static = nets
    static = copy.deepcopy(static)
    memo: Memo = {}
    assert igc.verify(net, static, inputs, memo=memo)
    with torch.no_grad():
        next(p for p in static.parameters() if p.dim() > 1).mul_(1.001)
    assert not igc.verify(net, static, inputs, memo=memo)


def test_other_inputs_and_precisions_are_run(nets: Nets) -> None:
    _, inputs, static = nets
    side = TorchSide("reference", static.program, memo={})
    other = tuple(x + 1 for x in inputs)
    assert not torch.equal(side.double(inputs)[0], side.double(other)[0])
    assert side.double(inputs)[0].dtype == torch.float64
    assert side.in_precision(inputs, torch.float32)[0].dtype == torch.float32
    assert side.double(inputs)[0] is side.double(tuple(x.clone() for x in inputs))[0]
