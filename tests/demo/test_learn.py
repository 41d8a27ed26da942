"""The training loop: a step reduces the loss, seeds repeat, augmentation keeps the picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from igc.demo.learn import BATCH, SHIFT, accuracy, augment, learn, task_loss
from igc.demo.people import TASKS, People, load
from igc.models.resnet_cifar import PooledLinear, resnet20


class Plain(nn.Module):
    """A shared network without gates: what the loop trains besides gated ones."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = resnet20(0.25)
        self.heads = nn.ModuleDict({task: PooledLinear(16, len(n)) for task, n in TASKS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        return {task: head(features) for task, head in self.heads.items()}


def few(count: int) -> People:
    train, _ = load()
    chosen = torch.zeros(len(train), dtype=torch.bool)
    chosen[torch.linspace(0, len(train) - 1, count).long()] = True
    return train.where(chosen)


def test_one_step_reduces_the_loss_of_its_batch() -> None:
    people, net = few(BATCH), Plain(0)
    with torch.no_grad():
        before = float(task_loss(net.train(), people.inputs, people.labels))
    learn(net, people, epochs=1, seed=0, rate=0.01)
    with torch.no_grad():
        after = float(task_loss(net.train(), people.inputs, people.labels))
    assert after < before


def test_the_same_seed_gives_the_same_network() -> None:
    nets = [Plain(0), Plain(0), Plain(0)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        learn(net, few(128), epochs=1, seed=seed)
    first, same, other = (net.state_dict()["backbone.layer3.2.conv2.weight"] for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_gates_have_an_optimiser_of_their_own() -> None:
    net = Plain(0)
    gate = nn.Parameter(torch.tensor([1.0, 2.0]))
    learn(
        net, few(BATCH), epochs=1, seed=0, gates=[gate], gate_rate=0.5, penalty=lambda: 3 * gate[0]
    )
    # One step of plain SGD, no decay: 1 - 0.5 * 3, and no gradient reaches the other.
    assert gate.tolist() == [-0.5, 2.0]


def test_augmenting_moves_and_mirrors_but_keeps_the_pixels() -> None:
    inputs = torch.zeros(50, 1, 16, 16)
    inputs[:, 0, 8, 5] = 1.0
    moved = augment(inputs, torch.Generator().manual_seed(0))
    assert moved.shape == inputs.shape
    assert moved.sum((1, 2, 3)).tolist() == [1.0] * 50
    places = moved[:, 0].flatten(1).argmax(1)
    rows, columns = places // 16, places % 16
    assert int((rows - 8).abs().max()) == SHIFT
    # Column 5, or 10 when mirrored; each within the shift.
    assert set(columns.tolist()) <= set(range(2, 9)) | set(range(7, 14))
    assert len(set(places.tolist())) > 20


def test_accuracy_counts_right_answers() -> None:
    people = few(BATCH)

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"gender": torch.tensor([0.0, 1.0, 0.0]).expand(len(x), 3)}

    women = int((people.labels["gender"] == 1).sum())
    assert accuracy(Constant(), people) == {"gender": women / BATCH}
