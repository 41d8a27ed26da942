"""Small gated networks of several kinds, each delivered in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import igc

MASK = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0])


class Gated(nn.Module):
    """Two tasks; each takes some of its own channels and the others of a shared layer."""

    def __init__(self, layer: Callable[[], nn.Module], last: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.shared, self.own = layer(), nn.ModuleDict({"seg": layer(), "depth": layer()})
        self.heads = nn.ModuleDict({"seg": last(), "depth": last()})
        self.register_buffer("seg", MASK)
        self.register_buffer("depth", MASK.flip(0).roll(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found, shared = {}, self.features(self.shared, x)
        for task, own in self.own.items():
            gate = self.mask(getattr(self, task)).to(shared.dtype)
            mixed = gate * self.features(own, x) + (1 - gate) * shared
            found[task] = self.heads[task](mixed)
        return found

    def mask(self, logits: Tensor) -> Tensor:
        return (logits > 0).reshape(-1, 1, 1)

    def features(self, layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x).relu()


class Recurrent(Gated):
    """Of sequences, in the layout that LSTMs have."""

    def mask(self, logits: Tensor) -> Tensor:
        return logits > 0

    def features(self, layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x)[0]


class Fixed(Gated):
    """One that asks for the height of its image, which is fixed therefore."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return super().forward(x if x.shape[2] == 8 else -x)


def conv(groups: int = 1) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(4, 8, 3, padding=1, groups=groups)


@dataclass(frozen=True)
class Case:
    """A network, its input, and how it is delivered."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (2, 4, 8, 8)
    dtype: torch.dtype = torch.float32
    options: dict[str, Any] = field(default_factory=dict)

    def delivered(self, folder: Path) -> tuple[Path, Path]:
        """Checkpoint and model, the manifest beside it."""
        torch.manual_seed(5)
        checkpoint, model = folder / "gated.pt", folder / "model.onnx"
        network = self.make().to(self.dtype).eval()
        igc.save(network, checkpoint, torch.randn(self.shape).to(self.dtype))
        assert igc.deliver(checkpoint, model, **self.options).passed
        return checkpoint, model


def images(kind: type[Gated] = Gated, groups: int = 1) -> Callable[[], nn.Module]:
    return lambda: kind(conv(groups), lambda: nn.Conv2d(8, 3, 1))


CASES = {
    "plain": Case(images()),
    "not verified": Case(images(), options={"verify": False}),
    "one task": Case(images(), options={"tasks": ["depth"]}),
    "split groups": Case(images(groups=4), options={"split_groups": True}),
    "a pass less": Case(images(), options={"stop_after": "slice channels"}),
    "float16": Case(images(), dtype=torch.float16),
    "bfloat16": Case(images(), dtype=torch.bfloat16),
    "recurrent": Case(
        lambda: Recurrent(lambda: nn.LSTM(5, 8, batch_first=True), lambda: nn.Linear(8, 3)),
        shape=(2, 6, 5),
    ),
    "a fixed axis": Case(images(Fixed)),
}
