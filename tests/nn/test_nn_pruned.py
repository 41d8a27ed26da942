"""Backbones with masks of `torch.nn.utils.prune`, gated: no larger than what the masks leave."""

from __future__ import annotations

import pytest
import torch
import torch.nn.utils.prune as prune
from torch import nn

import igc
from igc.testing.judge import compile_double
from igc.testing.oracle import assert_equal, assert_minimal


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_that_are_pruned_go(axis: int) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    for layer in (backbone[0], backbone[2]):
        rows = prune.ln_structured(layer, "weight", amount=0.4, n=2, dim=axis).weight_mask
        if axis == 0:
            prune.custom_from_mask(layer, "bias", rows.any(1).float())
    heads = {task: nn.Linear(8, 2) for task in ("a", "b")}
    inputs = (torch.randn(2, 3),)
    net = igc.gate(backbone, heads, at="layer", example_inputs=inputs).eval()
    for by_task in net.gates.values():
        for gate in by_task.values():
            gate.alpha.data = torch.randn(gate.alpha.shape)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    assert_minimal(net, static, inputs)
