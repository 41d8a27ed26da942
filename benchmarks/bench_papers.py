"""The papers' networks at full size, gated for the papers' tasks: seconds and memory of compiling.

Weights and gates are random: 30 % of the gates of each layer and task are open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import igc
from benchmarks.bench_networks import randomize
from benchmarks.paper_networks import NYUD, NYUD_SIZE, PASCAL, PASCAL_SIZE, heads
from igc.models.aspp import ASPPHead
from igc.models.dpt import DPTHead, dpt_base_encoder
from igc.models.heads import HRNetHead
from igc.models.hrnet import hrnet_w18
from igc.models.mobilenet import mobilenet_v2
from igc.models.resnet import resnet18, resnet50
from igc.models.vit import gated_layers
from igc.nn import GatedNetwork

Json = dict[str, Any]

SHARE = 0.3


@dataclass(frozen=True)
class Paper:
    """A gated network of a paper: how to build it, and the image it takes."""

    build: Callable[[], GatedNetwork]
    size: tuple[int, int]


def _resnet50() -> GatedNetwork:
    return igc.gate(resnet50(output_stride=8), heads(ASPPHead, 2048, NYUD), at="layer")


def _resnet18() -> GatedNetwork:
    return igc.gate(resnet18(output_stride=8), heads(ASPPHead, 512, PASCAL), at="layer")


def _hrnet() -> GatedNetwork:
    trunk = hrnet_w18()
    own = {task: HRNetHead(trunk.widths, classes) for task, classes in NYUD.items()}
    return igc.gate(trunk, own, at="layer")


def _dpt() -> GatedNetwork:
    trunk = dpt_base_encoder()
    own = {task: DPTHead(768, classes, trunk.grid) for task, classes in NYUD.items()}
    return igc.gate(trunk, own, at=gated_layers(trunk))


def _mobilenet() -> GatedNetwork:
    trunk = mobilenet_v2()
    own = heads(ASPPHead, trunk.outputs, {"seg": 21, "depth": 1})
    return igc.gate(trunk, own, at="layer")


PAPERS = {
    "resnet50-aspp-3": Paper(_resnet50, NYUD_SIZE),
    "resnet18-aspp-5": Paper(_resnet18, PASCAL_SIZE),
    "hrnet18-3": Paper(_hrnet, NYUD_SIZE),
    "dpt-base-3": Paper(_dpt, NYUD_SIZE),
    "mobilenetv2-aspp-2": Paper(_mobilenet, (224, 224)),
}


def build(name: str) -> nn.Module:
    """The gated network of that name with random weights and gates, the same in every process."""
    torch.manual_seed(0)
    net = PAPERS[name].build()
    randomize(net, SHARE)
    return net.eval()


def save(folder: Path, name: str) -> Json:
    """Writes the gated checkpoint; returns its size, and how many gates there are."""
    net = build(name)
    igc.save(net, folder / "gated.pt", torch.randn(1, 3, *PAPERS[name].size))
    gates = [gate for by_task in net.gates.values() for gate in by_task.values()]
    return {
        "size": PAPERS[name].size,
        "tasks": len(net.tasks),
        "gates": len(gates),
        "model": (folder / "gated.pt").stat().st_size,
    }
