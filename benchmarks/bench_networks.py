"""The networks that are measured: gated ones, and the ordinary ones of the same backbone family.

A gated network is named by a `Spec`. Its weights are random and its gates are drawn with a fixed
seed, so every process builds the same one; the demo's is the shipped, trained network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources

import torch
from torch import Tensor, nn

import igc
from benchmarks.counting import count
from igc.models.heads import LinearHead
from igc.models.multitask import SingleTaskNetworks, UniformSharing
from igc.models.resnet import resnet18
from igc.models.resnet_cifar import PooledLinear, ResNetCifar
from igc.nn import GatedNetwork

SEED = 0


@dataclass(frozen=True)
class Family:
    """A backbone by the channels of its narrowest stage; later stages have 2, 4, .. times as many.

    `step`: the widths at which ordinary networks are built. A multiple of 4 keeps convolutions
    in onnxruntime's fast layout, so that the references are not slow by their widths.
    """

    backbone: Callable[[int], nn.Module]
    growth: int  # channels of the last stage / channels of the first
    head: Callable[[int, int], nn.Module]
    channels: int
    step: int
    size: int
    classes: dict[str, int]

    def heads(self, channels: int) -> dict[str, nn.Module]:
        """One new head per task on features of a backbone of that width."""
        features = self.growth * channels
        return {task: self.head(features, classes) for task, classes in self.classes.items()}

    def image(self, batch: int = 1) -> Tensor:
        """A random picture, always the same."""
        generator = torch.Generator().manual_seed(SEED)
        return torch.randn(batch, 3, self.size, self.size, generator=generator)

    def dense(self, channels: int) -> nn.Module:
        """An ordinary network of that width: one backbone, a head per task."""
        return UniformSharing(self.backbone(channels), self.heads(channels)).eval()

    def singles(self) -> nn.Module:
        """A network of its own for every task."""
        encoders = {task: self.backbone(self.channels) for task in self.classes}
        return SingleTaskNetworks(encoders, self.heads(self.channels)).eval()

    def width_for(self, macs: int) -> int:
        """The width, a multiple of `step`, at which `dense` comes nearest to that many MACs."""

        def distance(channels: int) -> int:
            with torch.device("meta"):
                return abs(count(self.dense(channels), self.image()).macs - macs)

        best = self.step
        while distance(best + self.step) < distance(best):
            best += self.step
        return best


def _cifar(blocks: int) -> Callable[[int], nn.Module]:
    return lambda c: ResNetCifar((c, 2 * c, 4 * c), blocks, "A")


FAMILIES = {
    "resnet18": Family(
        backbone=lambda channels: resnet18(width=channels / 64),
        growth=8,
        head=LinearHead,
        channels=64,
        step=4,
        size=224,
        classes={"first": 10, "second": 20, "third": 40},
    ),
    "resnet20": Family(_cifar(3), 4, PooledLinear, 4, 1, 32, {"gender": 3, "tone": 6, "kind": 6}),
    "tiny": Family(_cifar(1), 4, PooledLinear, 4, 1, 16, {"first": 2, "second": 3}),
}


@dataclass(frozen=True)
class Spec:
    """One gated network: where its gates are and which share of them is open.

    `shipped`: the demo's trained network, where the checkpoint is there; its gates are its own.
    """

    name: str
    family: str
    at: str
    share: float
    shipped: bool = False

    @property
    def of(self) -> Family:
        """The backbone family."""
        return FAMILIES[self.family]


def gated(spec: Spec) -> nn.Module:
    """The gated network of a spec, in evaluation mode; the same in every process."""
    if spec.shipped:
        return _shipped()
    family = spec.of
    torch.manual_seed(SEED)
    net = igc.gate(family.backbone(family.channels), family.heads(family.channels), at=spec.at)
    randomize(net, spec.share)
    return net.eval()


def randomize(net: GatedNetwork, share: float) -> None:
    """Random weights and mixes, and that share of every layer's and task's gates open."""
    with torch.no_grad():
        _scatter(net.branches.modules())
        for mix in net.mixes.values():
            mix.beta.normal_()
        for by_task in net.gates.values():
            for gate in by_task.values():
                gate.alpha.copy_(_alpha(gate.alpha.numel(), share))


def _shipped() -> nn.Module:
    from igc.demo.train import build

    net = build()
    with resources.as_file(resources.files("igc.demo").joinpath("data", "gated.pt")) as path:
        net.load_state_dict(igc.load(path).state_dict())
    return net.eval()


def _alpha(channels: int, share: float) -> Tensor:
    """Alphas of which exactly the share (rounded to whole channels) is positive: open."""
    order = torch.randperm(channels)
    return torch.rand(channels).add(0.1) * torch.where(order < round(share * channels), 1.0, -1.0)


def _scatter(modules: Iterable[nn.Module]) -> None:
    """New weights everywhere: `igc.gate` starts all branches as copies, training parts them."""
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
        elif isinstance(module, nn.Linear):
            module.weight.add_(torch.randn_like(module.weight), alpha=0.02)


class Chain(nn.Module):
    """A stack of convolution-norm-activation units of 8 channels: the scaling curve's backbone."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        units: list[nn.Module] = []
        for i in range(layers):
            units += [
                nn.Conv2d(8 if i else 3, 8, 3, 1, 1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
            ]
        self.units = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        """Returns features (N, 8, H, W)."""
        features: Tensor = self.units(x)
        return features


def chain(layers: int, tasks: int) -> nn.Module:
    """A gated `Chain` for that many tasks, gates at every layer, half of them open."""
    torch.manual_seed(SEED)
    heads = {f"task{t}": LinearHead(8, 2) for t in range(tasks)}
    net = igc.gate(Chain(layers), heads, at="layer")
    randomize(net, 0.5)
    return net.eval()
