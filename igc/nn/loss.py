"""The sparsity loss that closes gates (equation 4)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn.network import GatedNetwork


def sparsity_loss(
    net: nn.Module, targets: Mapping[str, float] | float | None = None, kind: str = "hinge"
) -> Tensor:
    """Returns the scalar that training adds, times lambda_s, to the tasks' losses.

        hinge:  (1/T) sum_t max(0, mean_l mean_c sigmoid(alpha_t[l, c]) - tau_t)
        l1:     (1/T) sum_t        mean_l mean_c sigmoid(alpha_t[l, c])

    mean_c runs over the channels of a layer, mean_l over the layers: every layer weighs the same.
    `targets`: tau_t in [0, 1] for every task, or one number for all; above its target the hinge
    pulls a task's gates closed, below it leaves them alone. "l1" pulls always and reads no target.
    `net` may be wrapped (DistributedDataParallel). Raises BadInput for a network that igc.gate
    did not make, an unknown kind, and an unknown, missing or impossible target.
    Source: InterroGate, equation 4.
    """
    if kind not in ("hinge", "l1"):
        raise BadInput(f"unknown kind of sparsity loss '{kind}': give hinge or l1")
    inner = getattr(net, "module", net)
    if not isinstance(inner, GatedNetwork):
        raise BadInput(f"sparsity_loss needs a network made by igc.gate, not {type(net).__name__}")
    openness = torch.stack([_openness(inner, task) for task in inner.tasks])
    if kind == "l1":
        return openness.mean()
    taus = _taus(inner.tasks, targets)
    return torch.relu(openness - openness.new_tensor(taus)).mean()


def _openness(net: GatedNetwork, task: str) -> Tensor:
    """Returns mean_l mean_c sigmoid(alpha) of a task: how far open its gates are, 0 to 1."""
    layers = [torch.sigmoid(gates[task].alpha).mean() for gates in net.gates.values()]
    return torch.stack(layers).mean()


def _taus(tasks: tuple[str, ...], targets: Mapping[str, float] | float | None) -> list[float]:
    if targets is None:
        raise BadInput('the hinge loss needs targets={task: tau}; kind="l1" works without')
    if not isinstance(targets, Mapping):
        targets = dict.fromkeys(tasks, targets)
    unknown = [task for task in targets if task not in tasks]
    missing = [task for task in tasks if task not in targets]
    if unknown or missing:
        raise BadInput(
            f"targets do not fit the tasks ({', '.join(tasks)}): "
            f"unknown {unknown or 'none'}, missing {missing or 'none'}"
        )
    for task, tau in targets.items():
        if not 0 <= tau <= 1:  # NaN too
            raise BadInput(f"target {tau} of task '{task}': a share of open gates lies in [0, 1]")
    return [float(targets[task]) for task in tasks]
