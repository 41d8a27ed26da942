"""Trains the demo's gated network; the shipped checkpoint is `train(path, threads=1)`.

1. One shared network (a backbone with three heads) and three single-task networks are trained.
2. The gated network takes each task's branch and head from that task's network and its shared
   branch from the shared one; all its gates are open.
3. It is trained on with the hinge loss on its gates, which closes those that a task does not need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from igc.checkpoint import save
from igc.demo.learn import accuracy, learn
from igc.demo.people import SIDE, TASKS, load, majority
from igc.files import check_writable
from igc.models.resnet_cifar import PooledLinear, resnet20
from igc.nn import GatedNetwork, gate, sparsity_loss

WIDTH = 0.25  # 4, 8 and 16 channels
EPOCHS = 30  # of each network
SEED = 0
SPARSITY = 6.0  # lambda_s of equation 4
TARGETS = {"gender": 0.4, "tone": 0.4, "kind": 0.4}  # tau_t of equation 4
GATED_RATE = 0.05  # peak, for weights that are trained already
# The paper's rate for the gates is 0.1. The five hundred steps taken here are few: the gates start
# nearer to the threshold and learn ten times as fast.
ALPHA = 0.5
GATE_RATE = 1.0


class Plain(nn.Module):
    """A backbone with one head per task and no gates, initialised from `seed`."""

    def __init__(self, *tasks: str, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = resnet20(WIDTH)
        self.heads = nn.ModuleDict(_heads(self.backbone.features, tasks))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Returns logits (N, classes) per task for pictures (N, 3, 32, 32)."""
        features = self.backbone(x)
        return {task: head(features) for task, head in self.heads.items()}


def build() -> GatedNetwork:
    """Returns the demo's gated network, untrained: what `--model igc.demo.train:build` names."""
    backbone = resnet20(WIDTH)
    return gate(backbone, heads=_heads(backbone.features, tuple(TASKS)), at="layer", init=ALPHA)


def _heads(features: int, tasks: tuple[str, ...]) -> dict[str, nn.Module]:
    return {task: PooledLinear(features, len(TASKS[task])) for task in tasks}


@dataclass(frozen=True)
class Summary:
    """What a training run gave. Accuracies are on the held-out concepts; all shares are 0 to 1.

    `accuracy[method][task]`, the methods being "majority", "one shared network",
    "three single-task networks" and "gated network"; `open_gates[task]` is the share of the
    task's gates that are open; `size` is that of the checkpoint at `path`, in bytes.
    """

    path: Path
    size: int
    epochs: int
    seed: int
    seconds: float
    accuracy: dict[str, dict[str, float]]
    open_gates: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data for JSON."""
        return {**asdict(self), "path": str(self.path)}

    def __str__(self) -> str:
        rows = [f"{'held-out accuracy, %':28}" + "".join(f"{task:>9}" for task in TASKS)]
        for method, values in {**self.accuracy, "open gates, %": self.open_gates}.items():
            rows.append(f"{method:28}" + "".join(f"{100 * values[task]:9.1f}" for task in TASKS))
        rows.append(f"{self.epochs} epochs each, seed {self.seed}, {self.seconds:.0f} s")
        return "\n".join(rows)


def train(
    out_path: Path,
    epochs: int = EPOCHS,
    seed: int = SEED,
    progress: bool = True,
    threads: int = 2,
) -> Summary:
    """Trains the demo's networks, writes the gated one to `out_path`; returns the figures.

    Takes minutes on two processor cores. The same seed and thread count give the same checkpoint
    on the same machine and version of torch; PyTorch promises no more than that. `progress` draws
    bars on standard error. Raises BadInput at once when `out_path` cannot be written.
    """
    check_writable(out_path)
    started = time.monotonic()
    people, held_out = load()
    names = ("one shared network", *(f"single task: {task}" for task in TASKS), "gated network")
    with _settings(threads), _bars(names, epochs, progress) as advance:
        shared = Plain(*TASKS, seed=seed)
        learn(shared, people, epochs, seed, on_epoch=partial(advance, names[0]))
        singles = {}
        for task, name in zip(TASKS, names[1:], strict=False):
            singles[task] = Plain(task, seed=seed)
            learn(singles[task], people, epochs, seed, on_epoch=partial(advance, name))
        net = assemble(shared, singles)
        learn(
            net,
            people,
            epochs,
            seed,
            parameters=net.weight_parameters(),
            gates=net.gate_parameters(),
            gate_rate=GATE_RATE,
            rate=GATED_RATE,
            penalty=lambda: SPARSITY * sparsity_loss(net, targets=TARGETS),
            on_epoch=partial(advance, names[-1]),
        )
        found = {
            "majority": majority(held_out),
            "one shared network": accuracy(shared, held_out),
            "three single-task networks": {
                task: accuracy(single, held_out)[task] for task, single in singles.items()
            },
            "gated network": accuracy(net, held_out),
        }
    save(net, out_path, (torch.zeros(2, 3, SIDE, SIDE),))
    return Summary(
        path=out_path,
        size=out_path.stat().st_size,
        epochs=epochs,
        seed=seed,
        seconds=time.monotonic() - started,
        accuracy=found,
        open_gates=open_gates(net),
    )


def assemble(shared: nn.Module, singles: Mapping[str, nn.Module]) -> GatedNetwork:
    """Returns the gated network with the trained weights: every task on its own branch."""
    net = build()
    for task, single in singles.items():
        state = single.state_dict()
        # load_single_task reads one head, under `head.`.
        own = f"heads.{task}."
        net.load_single_task(task, {key.replace(own, "head."): v for key, v in state.items()})
    state = shared.state_dict()
    net.load_shared({key: v for key, v in state.items() if key.startswith("backbone.")})
    return net


def open_gates(net: GatedNetwork) -> dict[str, float]:
    """Returns per task the share of its gates that are open, over all channels of all layers."""
    return {
        task: float(torch.cat([gates[task].mask for gates in net.gates.values()]).double().mean())
        for task in net.tasks
    }


@contextmanager
def _settings(threads: int) -> Iterator[None]:
    """Sets torch's threads, on which the order of sums depends; restores them and the seed."""
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


@contextmanager
def _bars(
    names: tuple[str, ...], epochs: int, show: bool
) -> Iterator[Callable[[str, float], None]]:
    """Draws one bar per network; gives a function that advances one and shows its loss."""
    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bars:
        ids = {name: bars.add_task(name, total=epochs, loss="") for name in names}
        yield lambda name, loss: bars.update(ids[name], advance=1, loss=f"loss {loss:.2f}")
