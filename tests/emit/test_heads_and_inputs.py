"""Networks as they come: several inputs, heads of every kind, half precision, other devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from compiled import compiled
from torch import Tensor, nn

import igc
from igc.verification.agreement import Agreement
from igc.verification.bounds import own_leg
from igc.verification.reference import Reference

SIZE = 8


class TwoInputs(nn.Module):
    """Pictures and depth maps, joined behind a convolution each."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb, self.depth = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        x = torch.cat([self.rgb(rgb), self.depth(depth)], 1)
        return self.last(self.norm(x).relu()).relu()


class Pyramid(nn.Module):
    """Three scales, finest first."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [nn.Conv2d(i, o, 3, stride=s, padding=1) for i, o, s in ((3, 4, 1), (4, 6, 2))]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for stage in self.stages:
            x = stage(x).relu()
            found.append(x)
        return found


class Fused(nn.Module):
    """A head that reads every scale."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(4, classes, 1), nn.Conv2d(6, classes, 1)

    def forward(self, scales: list[Tensor]) -> Tensor:
        fine = self.fine(scales[0])
        return fine + F.interpolate(self.coarse(scales[1]), size=fine.shape[2:], mode="bilinear")


class Pooled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x[-1] if isinstance(x, list) else x).mean((2, 3)))


class WithAux(nn.Module):
    """A task's own output and an auxiliary one beside it, which is no task."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aux = Pooled(6, 3), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"main": self.main(x), "aux": self.aux(x)}


def pictures(*channels: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, c, SIZE, SIZE, generator=generator) for c in channels)


def gated(backbone: nn.Module, heads: dict[str, nn.Module]) -> igc.nn.GatedNetwork:
    net = igc.gate(backbone, heads=heads, at="layer").eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for by_task in net.gates.values():
            for gate in by_task.values():
                gate.alpha.copy_(torch.randn(gate.alpha.shape, generator=generator))
    return net


def one_head_for_two() -> igc.nn.GatedNetwork:
    head = Pooled(6, 3)
    return gated(Pyramid(), {"left": head, "right": head, "seg": Fused(2)})


CASES: dict[str, tuple[Callable[[], igc.nn.GatedNetwork], tuple[int, ...], dict[str, Any]]] = {
    "two inputs": (
        lambda: gated(TwoInputs(), {"cls": Pooled(6, 4), "seg": nn.Conv2d(6, 5, 1)}),
        (3, 1),
        {"cls": (2, 4), "seg": (2, 5, SIZE, SIZE)},
    ),
    "a shared head, scales": (
        one_head_for_two,
        (3,),
        {"left": (2, 3), "right": (2, 3), "seg": (2, 2, SIZE, SIZE)},
    ),
    "an auxiliary output": (
        lambda: gated(TwoInputs(), {"cls": WithAux(), "seg": nn.Conv2d(6, 5, 1)}),
        (3, 1),
        {"cls": {"main": (2, 3), "aux": (2, 2, SIZE, SIZE)}, "seg": (2, 5, SIZE, SIZE)},
    ),
}


def shapes(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: shapes(v) for k, v in value.items()}
    return tuple(value.shape)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_from_gate_to_onnx(case: str, tmp_path: Path) -> None:
    build, channels, outputs = CASES[case]
    torch.manual_seed(0)
    net, x = build(), pictures(*channels)
    igc.save(net, tmp_path / "gated.pt", x)
    assert shapes(igc.load(tmp_path / "gated.pt")(*x)) == outputs
    static = igc.compile(tmp_path / "gated.pt")
    assert shapes(static(*x)) == outputs
    assert igc.verify(net, static, x).passed
    igc.export_onnx(static, tmp_path / "net.onnx", simplify=False)
    check = igc.verify(tmp_path / "gated.pt", tmp_path / "net.onnx")
    assert check.passed
    assert tuple(check.outputs) == static.outputs
    made = igc.report(net, static, references=False).cost
    assert made.macs == igc.report(tmp_path / "net.onnx").cost.macs > 0
    assert set(made.outputs) == {t for tasks in made.by_tasks() for t in tasks}


def test_a_shared_head_stays_one_parameter() -> None:
    torch.manual_seed(0)
    net, x = one_head_for_two(), pictures(3)
    static = igc.compile(net, x)
    weights = [p for p in static.parameters() if tuple(p.shape) == (3, 6)]
    assert len(weights) == 1
    with torch.no_grad():
        weights[0].zero_()
        biases = static(*x)["left"], static(*x)["right"]
    assert torch.equal(*biases)


HALVES = {torch.float16: torch.float16, torch.bfloat16: torch.float32}
WRITTEN = {torch.float16: onnx.TensorProto.FLOAT16, torch.float32: onnx.TensorProto.FLOAT}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = CASES["two inputs"][0]().to(dtype)
    x = tuple(t.to(dtype) for t in pictures(3, 1))
    path = tmp_path / "net.onnx"
    igc.save(net, tmp_path / "gated.pt", x)
    static = igc.compile(tmp_path / "gated.pt")
    assert static.to_program().dtype == dtype
    assert {v.dtype for v in static(*x).values()} == {dtype}
    assert igc.verify(net, static, x).passed
    igc.export_onnx(static, path, simplify=False)
    assert static.to_program().dtype == dtype  # what was written is a copy
    graph = onnx.load(str(path)).graph
    for values in (graph.input, graph.output):
        assert {v.type.tensor_type.elem_type for v in values} == {WRITTEN[HALVES[dtype]]}
    check = igc.verify(tmp_path / "gated.pt", path, x)
    assert check.passed
    assert any("bfloat16" in n for n in check.notes) == (dtype == torch.bfloat16)
    # The bound is the error that the gated network makes in the type that the file computes in.
    with torch.no_grad():
        own = net.to(HALVES[dtype])(*(t.to(HALVES[dtype]) for t in x))["seg"].double()
        exact = net.double()(*(t.double() for t in x))["seg"]
    errors, largest = (own - exact).abs(), float(own.abs().max())
    floor = 2.0 if dtype == torch.float16 else 32.0
    eps = floor * torch.finfo(HALVES[dtype]).eps
    legs = [g for g in check.outputs["seg"].legs if g.inputs.startswith("given 2")]
    assert legs
    for leg in legs:  # at least what the channel's own error gives, and no more than the largest
        least = 16 * errors[:, leg.channel].max() + eps * own[:, leg.channel].abs().max()
        assert least * (1 - 1e-6) <= leg.bound <= (16 * errors.max() + eps * largest) * (1 + 1e-6)
        assert leg.bound < 0.1 * largest


def test_what_bfloat16_folds_is_written_as_float32_has_it(tmp_path: Path) -> None:
    """A kernel with a norm folded into it, rounded to bfloat16, is no longer the network's own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    with torch.no_grad():
        net[1].running_mean.normal_()
        net[1].running_var.uniform_(0.5, 2)
        net[1].weight.uniform_(0.5, 1.5)
    net, x = net.bfloat16().eval(), torch.randn(2, 3, 9, 9).bfloat16()
    static, path = compiled(net, x).static, tmp_path / "net.onnx"
    assert {p.dtype for p in static.parameters()} == {torch.bfloat16}
    assert igc.verify(net, static, x).passed
    igc.export_onnx(static, path)
    assert igc.verify(net, path, x).passed
    kernel = next(static.parameters())
    with torch.no_grad():  # what is changed afterwards is what counts
        kernel.mul_(2)
    igc.export_onnx(static, path)
    held = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]
    (written,) = [array for array in held if array.shape == tuple(kernel.shape)]
    assert (written == kernel.detach().float().numpy()).all()
    assert not igc.verify(net, path, x).passed


@pytest.mark.slow
def test_half_precision_files_that_are_wrong_are_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = CASES["two inputs"][0]().half()
    x = tuple(t.half() for t in pictures(3, 1))
    static, path = compiled(net, x).static, tmp_path / "net.onnx"
    igc.export_onnx(static, path, simplify=False)
    model = onnx.load(str(path))
    bias = next(i for i in model.graph.initializer if i.name == "heads.seg.bias")
    values = onnx.numpy_helper.to_array(bias)
    bias.CopyFrom(onnx.numpy_helper.from_array(np.roll(values, 1), bias.name))
    onnx.save(model, str(path))
    check = igc.verify(net, path, x)
    assert not check.passed
    assert not check.outputs["seg"].passed
    assert check.outputs["cls"].passed


def test_half_precision_files_are_held_to_a_share_of_the_value() -> None:
    """256 epsilons are nothing in float32, a quarter of the value in float16."""
    net = nn.Linear(4, 3).half().eval()
    network, chosen = Agreement(igc.compile(net, (torch.randn(2, 4).half(),))).asked
    assert len(chosen) == 2
    for draw in chosen:
        (yard,) = Reference(network, draw, [0], [1]).yardsticks([torch.float16])
        leg = own_leg("output", "float16", draw.label, yard, yard.value)
        assert leg.bound < 0.05 * float(yard.value.abs().max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_networks_on_a_cuda_device(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = CASES["two inputs"][0]().cuda()
    x = tuple(t.cuda() for t in pictures(3, 1))
    static = igc.compile(net, x)
    assert {p.device.type for p in static.parameters()} == {"cuda"}
    assert {v.device.type for v in static(*x).values()} == {"cuda"}
    assert igc.verify(net, static, x).passed
    igc.save(net, tmp_path / "gated.pt", x)
    igc.export_onnx(static, tmp_path / "net.onnx")
    assert igc.verify(net, tmp_path / "net.onnx", x).passed
    assert igc.verify(tmp_path / "gated.pt", tmp_path / "net.onnx").passed
    loaded = igc.load(tmp_path / "gated.pt").cuda()
    assert {v.device.type for v in loaded(*x).values()} == {"cuda"}
    assert igc.compile(loaded).to_program().constants
    assert igc.report(net, static, references=False).cost.macs > 0
