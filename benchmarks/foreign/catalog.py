"""Which third-party networks are tried, and how each is built: random weights, small pictures."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 12  # of the backbone's own classifier, whose output the tasks' heads read
SIZES = (64, 128, 224, 256)  # sides of the square picture, tried in order

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": False}
VISION_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": WITHOUT_AUXILIARY,
    "inception_v3": WITHOUT_AUXILIARY,
    "vit_b_16": {"image_size": 64},
    "vit_b_32": {"image_size": 64},
    "vit_l_16": {"image_size": 64},
    "vit_l_32": {"image_size": 64},
    "vit_h_14": {"image_size": 56},
}
# (blocks kept of a list of blocks): the whole network, three times over in float64, is too large
# for a small machine. The blocks left out are of the same kind and widths as those kept.
SHORTENED: dict[str, dict[str, int]] = {
    "vit_l_16": {"encoder.layers": 8},
    "vit_l_32": {"encoder.layers": 8},
    "vit_h_14": {"encoder.layers": 3},
    "regnet_y_128gf": {"trunk_output.block2": 2, "trunk_output.block3": 2},
}


@dataclass(frozen=True)
class Entry:
    """One network by its name in its library, and the library's module or family it stands for."""

    library: str
    name: str
    family: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)

    @property
    def key(self) -> str:
        """The name in results: library and network."""
        return f"{self.library}/{self.name}"

    @property
    def note(self) -> str:
        """What was changed to fit it in memory."""
        kept = SHORTENED.get(self.name, {})
        return ", ".join(f"{path}: {count} blocks kept" for path, count in kept.items())


def entries(library: str) -> list[Entry]:
    """Every network tried of "torchvision" or "timm"."""
    return _torchvision() if library == "torchvision" else _timm()


def _torchvision() -> list[Entry]:
    """All classification and segmentation networks."""
    from torchvision import models

    return [
        Entry("torchvision", name, kind, VISION_OPTIONS.get(name, NO_OPTIONS))
        for kind, module in (("classification", models), ("segmentation", models.segmentation))
        for name in models.list_models(module=module)
    ]


def _timm() -> list[Entry]:
    """Of each module of timm's architectures the smallest network, as far as names tell."""
    import timm

    found = {family: timm.list_models(module=family) for family in timm.list_modules()}
    return [Entry("timm", min(names, key=_weight), f) for f, names in found.items() if names]


SMALL = ("pico", "atto", "femto", "nano", "tiny", "small", "mini", "xxs", "_xs", "_s", "_t", "_b0")


def _weight(name: str) -> tuple[int, int, str]:
    rank = next((i for i, mark in enumerate(SMALL) if mark in name), len(SMALL))
    return rank, sum(int(n) for n in re.findall(r"\d+", name)), name


def build(entry: Entry) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network and example inputs: the smallest picture of `SIZES` that it takes."""
    torch.manual_seed(0)
    if entry.library == "torchvision":
        net, sizes = _build_torchvision(entry), SIZES
    else:
        net, sizes = _build_timm(entry)
    sizes = (entry.options["image_size"],) if "image_size" in entry.options else sizes
    for path, kept in SHORTENED.get(entry.name, {}).items():
        blocks = net.get_submodule(path)
        for name in list(blocks._modules)[kept:]:
            del blocks._modules[name]
    failure: Exception | None = None
    for size in sizes:
        inputs = (torch.randn(2, 3, size, size),)
        try:
            with torch.no_grad():
                net.eval()(*inputs)
            return net, inputs
        except Exception as error:
            failure = failure or error
    raise ValueError(f"takes no picture of {sizes}: {failure}")


def _build_torchvision(entry: Entry) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"num_classes": CLASSES, **entry.options}
    if entry.family == "segmentation":
        options["weights_backbone"] = None
    net: nn.Module = models.get_model(entry.name, weights=None, **options)
    return net


def _build_timm(entry: Entry) -> tuple[nn.Module, tuple[int, ...]]:
    import timm

    net: nn.Module = timm.create_model(entry.name, pretrained=False, num_classes=CLASSES)
    own: int = net.pretrained_cfg["input_size"][-1]  # type: ignore[index]  # timm's attribute
    fixed = net.pretrained_cfg.get("fixed_input_size", False)  # type: ignore[union-attr]
    return net, (own,) if fixed else (*(s for s in SIZES if s < own), own)


if __name__ == "__main__":
    listed = [e for library in sys.argv[1:] for e in entries(library)]
    print(json.dumps([{**vars(e), "options": dict(e.options)} for e in listed]))
