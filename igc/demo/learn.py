"""One training loop for every network of the demo: single-task, shared and gated.

A network here is any module that maps pictures (N, 3, 32, 32) to a dict of logits per task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.demo.people import People

Logits = dict[str, Tensor]  # task -> (N, classes)

BATCH = 64
SHIFT = 3  # pixels


def augment(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the pictures (N, C, H, W), each mirrored or not and shifted by up to `SHIFT` pixels.

    What a shift uncovers is background (0). Colours stay: one of the tasks reads them.
    """
    count, _, height, width = inputs.shape
    mirrored = torch.rand(count, generator=generator) < 0.5
    inputs = torch.where(mirrored[:, None, None, None], inputs.flip(-1), inputs)
    padded = F.pad(inputs, (SHIFT, SHIFT, SHIFT, SHIFT))
    offsets = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
    rows = (offsets[0] + torch.arange(height))[:, :, None]
    columns = (offsets[1] + torch.arange(width))[:, None, :]
    picture = torch.arange(count)[:, None, None]
    return padded[picture, :, rows, columns].permute(0, 3, 1, 2)


def task_loss(net: nn.Module, inputs: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """Returns the sum over the network's tasks of the cross-entropy, labels smoothed by 0.1."""
    logits: Logits = net(inputs)
    losses = [F.cross_entropy(logits[t], labels[t], label_smoothing=0.1) for t in logits]
    return torch.stack(losses).sum()


def learn(
    net: nn.Module,
    people: People,
    epochs: int,
    seed: int,
    *,
    parameters: Sequence[nn.Parameter] | None = None,
    gates: Sequence[nn.Parameter] = (),
    gate_rate: float = 0.1,
    rate: float = 0.1,
    penalty: Callable[[], Tensor] | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> None:
    """Trains `net` in place on `people`; leaves it in evaluation mode.

    Weights: SGD with Nesterov momentum 0.9, weight decay 5e-4, one-cycle rate peaking at `rate`.
    Gates: plain SGD at the constant rate `gate_rate`, in an optimiser of their own. `penalty()` is
    added to every batch's loss. `on_epoch` gets the mean loss of each finished epoch. The same
    seed, thread count and machine give the same network.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = list(net.parameters() if parameters is None else parameters)
    per_epoch = len(people) // BATCH
    optimiser = torch.optim.SGD(weights, rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=max(2, epochs * per_epoch), cycle_momentum=False
    )
    optimisers: list[torch.optim.Optimizer] = [optimiser]
    if gates:
        optimisers.append(torch.optim.SGD(gates, gate_rate))
    net.train()
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(len(people), generator=generator)
        for start in range(0, per_epoch * BATCH, BATCH):
            rows = order[start : start + BATCH]
            labels = {task: label[rows] for task, label in people.labels.items()}
            loss = task_loss(net, augment(people.inputs[rows], generator), labels)
            if penalty is not None:
                loss = loss + penalty()
            for each in optimisers:
                each.zero_grad()
            torch.autograd.backward([loss])
            for each in optimisers:
                each.step()
            schedule.step()
            total += float(loss.detach())
        on_epoch(total / per_epoch)
    net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, people: People) -> dict[str, float]:
    """Returns per task the share (0 to 1) of `people` that `net` labels correctly."""
    net.eval()
    starts = range(0, len(people), 256)
    parts: list[Logits] = [net(people.inputs[i : i + 256]) for i in starts]
    return score({task: torch.cat([part[task] for part in parts]) for task in parts[0]}, people)


def score(logits: Logits, people: People) -> dict[str, float]:
    """Returns per task the share (0 to 1) of `people` whose largest logit is the true label's."""
    return {
        task: float((scores.argmax(1) == people.labels[task]).double().mean())
        for task, scores in logits.items()
    }
