"""The papers' cost columns as published, and how each figure is recomputed.

InterroGate is the ICML 2024 submission whose gates igc compiles; "branched" is Vandenhende et al.,
"Branched multi-task networks" (2020). Their "Flops" are not one convention: the ResNet rows are
FLOPs (2 x MACs), the HRNet rows MACs, and the DPT rows mix the two. ``unit`` says which it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from benchmarks import paper_networks as nets

Unit = Literal["GFLOPs", "GMACs", "M params"]

#: How far a row may be off, in percent. The Cityscapes table prints whole millions, and not all of
#: them are rounded to the nearest.
COST, PARAMS, CITY = 0.7, 0.1, 1.5


@dataclass(frozen=True)
class Row:
    """One published figure; ``exact`` recomputes it as a number of MACs or of parameters."""

    paper: str
    network: str
    unit: Unit
    published: float
    exact: Callable[[], int]
    tolerance: float
    note: str = ""

    @property
    def ours(self) -> float:
        """The recomputed figure in the row's unit."""
        scale = {"GFLOPs": 2e-9, "GMACs": 1e-9, "M params": 1e-6}[self.unit]
        return self.exact() * scale

    @property
    def error(self) -> float:
        """Recomputed against published, in percent."""
        return 100 * (self.ours / self.published - 1)


@dataclass(frozen=True)
class Open:
    """Figures that the paper's text does not determine, or that are misprinted, and why."""

    paper: str
    network: str
    published: str
    reason: str


Build = Callable[..., nn.Module]


def _macs(build: Build, size: tuple[int, int], *args: float) -> Callable[[], int]:
    return lambda: nets.macs(build, size, *args)


def _params(build: Build, *args: float) -> Callable[[], int]:
    return lambda: nets.params(build, *args)


def _pair(
    network: str,
    unit: Unit,
    published: tuple[float, float],
    exact: tuple[Callable[[], int], Callable[[], int]],
    tolerance: float,
    *,
    paper: str = "InterroGate",
    note: str = "",
) -> list[Row]:
    """The two rows that most tables open with: single-task networks, and one shared encoder."""
    names = (f"{network}, single-task", f"{network}, shared")
    return [
        Row(paper, name, unit, value, function, tolerance, note)
        for name, value, function in zip(names, published, exact, strict=True)
    ]


def _nyud(width: float) -> tuple[Callable[[], int], Callable[[], int]]:
    size = nets.NYUD_SIZE
    return _macs(nets.nyud_single, size, width), _macs(nets.nyud_shared, size, width)


def _stitched() -> int:
    counted = nets.macs(nets.nyud_cross_stitch, nets.NYUD_SIZE)
    return counted + nets.cross_stitch_products(nets.NYUD_SIZE)


_N, _P = nets.NYUD_SIZE, nets.PASCAL_SIZE
_R50 = "NYUD ResNet-50 + ASPP"


def _city(name: str, published: float, build: Build, *args: float) -> Row:
    network = f"Cityscapes ResNet-50 + PSP, {name}"
    return Row("branched", network, "M params", published, _params(build, *args), CITY)


ROWS: tuple[Row, ...] = (
    *_pair(_R50, "GFLOPs", (1149, 683), _nyud(1.0), COST),
    *_pair(
        _R50,
        "M params",
        (118.9, 71.9),
        (_params(nets.nyud_single), _params(nets.nyud_shared)),
        PARAMS,
    ),
    *_pair(f"{_R50}, half width", "GFLOPs", (415, 296), _nyud(0.5), COST),
    *_pair(f"{_R50}, quarter width", "GFLOPs", (177, 147), _nyud(0.25), COST),
    Row("InterroGate", f"{_R50}, MTAN", "M params", 92.4, _params(nets.nyud_mtan), PARAMS),
    Row(
        "InterroGate",
        f"{_R50}, cross-stitch",
        "M params",
        119.0,
        _params(nets.nyud_cross_stitch),
        PARAMS,
    ),
    Row(
        "InterroGate",
        f"{_R50}, cross-stitch",
        "GFLOPs",
        1151,
        _stitched,
        COST,
        "with the elementwise stitching, which igc itself counts as zero",
    ),
    *_pair(
        "PASCAL ResNet-18 + ASPP",
        "GFLOPs",
        (670, 284),
        (_macs(nets.pascal_single, _P), _macs(nets.pascal_shared, _P)),
        COST,
    ),
    Row(
        "InterroGate",
        "PASCAL ResNet-18 + ASPP, MTAN",
        "GFLOPs",
        319,
        _macs(nets.pascal_mtan, _P),
        COST,
    ),
    *_pair(
        "NYUD HRNet-W18",
        "GMACs",
        (65.1, 24.5),
        (_macs(nets.hrnet_single, _N), _macs(nets.hrnet_shared, _N)),
        COST,
        note="printed as Flops, are MACs",
    ),
    *_pair(
        "NYUD HRNet-W18",
        "M params",
        (28.9, 9.8),
        (_params(nets.hrnet_single), _params(nets.hrnet_shared)),
        PARAMS,
    ),
    _city("single-task", 138, nets.city_single),
    _city("shared", 92, nets.city_shared),
    _city("Ours-1 (second layer4)", 107, nets.city_branched, 3),
    _city("Ours-2 (second layers 3-4)", 114, nets.city_branched, 2),
    _city("Ours-3 (second layers 2-4)", 116, nets.city_branched, 1),
    _city("MTAN", 113, nets.city_mtan),
    _city("cross-stitch", 140, nets.city_cross_stitch),
    _city("NDDR-CNN", 190, nets.city_nddr),
    Row(
        "branched",
        "CelebA VGG-16, 40 outputs",
        "M params",
        134.41,
        lambda: nets.weights(nets.celeba_vgg),
        PARAMS,
        "weights without biases",
    ),
    Row(
        "branched",
        "CelebA ResNet-18, 40 heads",
        "M params",
        11.2,
        _params(nets.celeba_resnet),
        PARAMS,
    ),
)

OPEN: tuple[Open, ...] = (
    Open(
        "InterroGate",
        "NYUD ResNet-50 + ASPP, MTAN",
        "683 GFLOPs",
        "misprint: repeats the shared row; the network with its 92.4 M parameters costs {mtan}",
    ),
    Open(
        "InterroGate",
        "CelebA ResNet-20",
        "174 / 58 MFLOPs",
        "the text does not give the network: a ResNet-20 for 32x32 costs 40.55 M MACs",
    ),
    Open(
        "InterroGate",
        "NYUD DPT, ViT-S and ViT-B",
        "all figures",
        "the text does not give the head, and the tables mix MACs and FLOPs",
    ),
    Open(
        "branched",
        "CelebA thin VGG trees",
        "2.20 / 7.73 M params",
        "the text does not give the layer widths",
    ),
    Open(
        "branched",
        "Taskonomy decoder",
        "224 / 130 M params",
        "the text does not give the decoder; only a fitted one would match",
    ),
)


def mtan_erratum() -> int:
    """MACs of the MTAN network whose row in the paper prints the shared network's figure."""
    return nets.macs(nets.nyud_mtan, _N)
