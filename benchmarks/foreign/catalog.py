"""Which third-party networks are tried, and how each is built: random weights, small pictures."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.foreign.shrink import KEPT, narrowed, shortened

CLASSES = 12  # of the backbone's own classifier, whose output the tasks' heads read
SIZES = (64, 128, 224, 256)  # sides of the square picture, tried in order

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": WITHOUT_AUXILIARY,
    "inception_v3": WITHOUT_AUXILIARY,
    "vit_b_16": {"image_size": 64},
    "vit_b_32": {"image_size": 64},
    "vit_l_16": {"image_size": 64},
    "vit_l_32": {"image_size": 64},
    "vit_h_14": {"image_size": 56},
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


def entries(library: str) -> list[Entry]:
    """Every network tried of "torchvision" or "timm"."""
    return _torchvision() if library == "torchvision" else _timm()


def _torchvision() -> list[Entry]:
    """All classification and segmentation networks."""
    from torchvision import models

    return [
        Entry("torchvision", name, kind, OPTIONS.get(name, NO_OPTIONS))
        for kind, module in (("classification", models), ("segmentation", models.segmentation))
        for name in models.list_models(module=module)
    ]


def _timm() -> list[Entry]:
    """Of each architecture the smallest network, as far as names tell.

    An architecture is a module of timm, and in it the names that begin with the same letters
    (`regnetx`, `regnety`). The smallest of each module come first.
    """
    import timm

    first, rest = [], []
    for family in timm.list_modules():
        groups: dict[str, list[str]] = {}
        for name in timm.list_models(module=family):
            groups.setdefault(re.split(r"[^a-z]", name)[0], []).append(name)
        smallest = sorted((min(names, key=_weight) for names in groups.values()), key=_weight)
        first += smallest[:1]
        rest += smallest[1:]
    return [Entry("timm", name, _module(name)) for name in first + rest]


def _module(name: str) -> str:
    import timm

    return str(timm.model_entrypoint(name).__module__).rpartition(".")[2]


SMALL = ("pico", "atto", "femto", "nano", "tiny", "small", "mini", "xxs", "_xs", "_s", "_t", "_b0")


def _weight(name: str) -> tuple[int, int, str]:
    rank = next((i for i, mark in enumerate(SMALL) if mark in name), len(SMALL))
    return rank, sum(int(n) for n in re.findall(r"\d+", name)), name


def build(entry: Entry, kept: int = KEPT) -> tuple[nn.Module, tuple[Tensor, ...], str]:
    """The network, example inputs of the smallest picture that it takes, and what was changed.

    `kept`: see `benchmarks.foreign.shrink.shortened`.
    """
    torch.manual_seed(0)
    smaller = SMALLER.get(entry.name) if entry.library == "torchvision" else None
    if smaller is not None:
        (net, note), sizes = smaller(), SIZES
    elif entry.library == "torchvision":
        net, sizes, note = _build_torchvision(entry), SIZES, ""
    else:
        (net, sizes), note = _build_timm(entry), ""
    sizes = (entry.options["image_size"],) if "image_size" in entry.options else sizes
    notes = [note, narrowed(net)]
    failure: Exception | None = None
    for size in sizes:
        inputs = (torch.randn(2, 3, size, size),)
        try:
            with torch.no_grad():
                net.eval()(*inputs)
        except Exception as error:
            failure = failure or error
            continue
        notes.append(shortened(net, inputs, kept))
        return net, inputs, ", ".join(n for n in notes if n)
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

    options = {"num_classes": CLASSES, **entry.options}
    net: nn.Module = timm.create_model(entry.name, pretrained=False, **options)
    own: int = net.pretrained_cfg["input_size"][-1]  # type: ignore[index]  # timm's attribute
    fixed = net.pretrained_cfg.get("fixed_input_size", False)  # type: ignore[union-attr]
    return net, (own,) if fixed else (*(s for s in SIZES if s < own), own)


def _densenet(growth: int, initial: int) -> Callable[[], tuple[nn.Module, str]]:
    """Its layers all differ in width, so the blocks are built short."""

    def make() -> tuple[nn.Module, str]:
        from torchvision.models import DenseNet

        blocks = (3, 4, 4, 3)
        net: nn.Module = DenseNet(growth, blocks, initial, num_classes=CLASSES)
        return net, f"blocks of {blocks} layers"

    return make


def _regnet_y_128gf() -> tuple[nn.Module, str]:
    """Three branches of the whole network take 15 GB in float64."""
    from torchvision.models.regnet import BlockParams, RegNet

    params = BlockParams.from_init_params(
        depth=27, w_0=112, w_a=40.2, w_m=2.52, group_width=64, se_ratio=0.25
    )
    return RegNet(params, num_classes=CLASSES), "a quarter as wide"


SMALLER: dict[str, Callable[[], tuple[nn.Module, str]]] = {
    "densenet121": _densenet(32, 64),
    "densenet161": _densenet(48, 96),
    "densenet169": _densenet(32, 64),
    "densenet201": _densenet(32, 64),
    "regnet_y_128gf": _regnet_y_128gf,
}


if __name__ == "__main__":
    listed = [e for library in sys.argv[1:] for e in entries(library)]
    print(json.dumps([{**vars(e), "options": dict(e.options)} for e in listed]))
