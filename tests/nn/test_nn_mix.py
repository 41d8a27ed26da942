"""Mix: a convex combination per channel, written as multiplications and additions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from igc.errors import BadInput
from igc.nn import Mix


@pytest.mark.parametrize("tasks", [1, 2, 3, 8])
@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 3, 4), 1), ((2, 7, 5), -1), ((2, 5), 1)])
def test_against_numpy(tasks: int, shape: tuple[int, ...], axis: int) -> None:
    mix = Mix(5, tasks, axis).double()
    torch.nn.init.normal_(mix.beta)
    features = [torch.randn(shape, dtype=torch.float64) for _ in range(tasks)]
    exponentials = np.exp(mix.beta.detach().numpy())
    weights = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = np.zeros(shape)
    for c in range(5):
        at = [slice(None)] * len(shape)
        at[axis] = c
        for t in range(tasks):
            expected[tuple(at)] += weights[c, t] * features[t].numpy()[tuple(at)]
    np.testing.assert_allclose(mix(features).detach().numpy(), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(mix.weights.detach().numpy(), weights, rtol=1e-12)


def test_starts_as_the_mean_and_one_task_passes_through() -> None:
    features = [torch.randn(2, 4, 3) for _ in range(4)]
    torch.testing.assert_close(Mix(4, 4)(features), torch.stack(features).mean(0))
    assert torch.equal(Mix(4, 1)(features[:1]), features[0])


def test_exports_as_a_chain_of_mul_and_add() -> None:
    mix = Mix(4, 3).eval()
    features = [torch.randn(2, 4, 3) for _ in range(3)]
    graph = torch.export.export(mix, (features,)).graph
    ops = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert ops.count("aten.mul.Tensor") == 3
    assert ops.count("aten.add.Tensor") == 2


@pytest.mark.parametrize(("channels", "tasks"), [(0, 1), (1, 0)])
def test_bad_sizes(channels: int, tasks: int) -> None:
    with pytest.raises(BadInput):
        Mix(channels, tasks)


def test_wrong_number_of_features() -> None:
    with pytest.raises(BadInput, match="2 tasks"):
        Mix(3, 2)([torch.ones(1, 3)])
