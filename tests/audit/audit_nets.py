"""Networks with certificates, and ways to tamper with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

import igc
from igc.audit import Audit, audit
from igc.certificate import manifest_path
from igc.certificate.manifest import digest, hashes, seal, sha256, tensor_of, wiring
from igc.certificate.write import certify
from igc.emit.onnx.write import write_onnx
from igc.program.digest import source_of
from igc.verification.agreement import Agreement


@dataclass(frozen=True)
class Certificate:
    """A checkpoint, its model and the manifest, in one folder."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "gated.pt"

    @property
    def onnx(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def manifest(self) -> Path:
        return manifest_path(self.onnx)

    def audit(self) -> Audit:
        """What the auditor says of the files as they are now."""
        network = igc.load(self.checkpoint)
        return audit(self.onnx, network.to_program(), hashes(self.checkpoint, network))

    def change_model(self, change: Callable[[onnx.ModelProto], Any]) -> None:
        """Writes a changed model; the manifest stays."""
        model = onnx.load(self.onnx)
        change(model)
        self.onnx.write_bytes(model.SerializeToString(deterministic=True))

    def change_manifest(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Writes a changed manifest; the model stays."""
        content = json.loads(self.manifest.read_bytes())
        change(content)
        self.manifest.write_text(json.dumps(content, sort_keys=True))

    def forge(self) -> None:
        """Makes every hash fit again, as a forger would: model, nodes, tensors, checkpoint."""
        model = onnx.load(self.onnx)
        kept = [p for p in model.metadata_props if p.key != "igc.manifest_sha256"]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        body = model.SerializeToString(deterministic=True)

        def fit(content: dict[str, Any]) -> None:
            content["model"] = {"sha256": sha256(body), "wiring": wiring(model.graph)}
            for proto in model.graph.initializer:
                if proto.name in content["tensors"]:
                    content["tensors"][proto.name]["sha256"] = digest(tensor_of(proto))
            network = igc.load(self.checkpoint)
            read = source_of(network.to_program()).hashes
            found = {**read, **hashes(self.checkpoint, network)}
            content["checkpoint"] = {"sha256": found.pop(""), "tensors": found}

        self.change_manifest(fit)
        self.onnx.write_bytes(body + seal(self.manifest.read_bytes()))


def certified(net: nn.Module, inputs: tuple[torch.Tensor, ...], folder: Path) -> Certificate:
    """Compiles `net` and writes checkpoint, model and manifest into `folder`."""
    made = Certificate(folder)
    igc.save(net.eval(), made.checkpoint, inputs)
    network = igc.load(made.checkpoint)
    static = igc.compile(network)
    write_onnx(static, made.onnx, judge=Agreement(static))
    found = {**static.compiled_from.hashes, **hashes(made.checkpoint, network)}
    certify(static, made.onnx, made.manifest, found)
    return made


class Head(nn.Module):
    """Global average pooling and a linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))


def gated_net() -> nn.Module:
    """Three gated convolutions and two tasks, some gates open, statistics as after training."""
    torch.manual_seed(3)
    layers: list[nn.Module] = []
    for before, after in ((3, 6), (6, 6), (6, 5)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    net = igc.gate(nn.Sequential(*layers), heads={"a": Head(5, 3), "b": Head(5, 3)}, at="layer")
    with torch.no_grad():
        for parameter in net.gate_parameters():
            parameter.copy_(torch.randn_like(parameter))
        for mix in net.mixes.values():
            mix.beta.copy_(torch.randn_like(mix.beta))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    return net.eval()
