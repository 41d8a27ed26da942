"""A small gated network and the same sliced by hand: a pair that no compiler had a part in."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from igc.capture import capture
from igc.program import Program

WIDTH = 6
TASKS = ("seg", "depth")
OPEN = {"seg": [0, 2, 3], "depth": [1, 2]}


class GateParameter(nn.Module):
    """Holds alpha, as `igc.nn.Gate` does."""

    def __init__(self, opened: list[int]) -> None:
        super().__init__()
        alpha = torch.full((WIDTH,), -0.4)
        alpha[opened] = 0.6
        self.alpha = nn.Parameter(alpha)


class Gated(nn.Module):
    """One gated layer, a mix, one shared layer behind it, two heads."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(11)
        self.psi = conv(3, WIDTH, g)
        self.own = nn.ModuleDict({t: conv(3, WIDTH, g) for t in TASKS})
        self.gates = nn.ModuleDict(
            {"one": nn.ModuleDict({t: GateParameter(OPEN[t]) for t in TASKS})}
        )
        self.beta = nn.Parameter(torch.randn(WIDTH, 2, generator=g))
        self.two = conv(WIDTH, 4, g)
        self.heads = nn.ModuleDict({t: linear(WIDTH + 4, 3, g) for t in TASKS})

    def features(self, x: Tensor) -> dict[str, Tensor]:
        shared = F.relu(self.psi(x))
        found = {}
        for t in TASKS:
            mask = (torch.sigmoid(self.gates["one"][t].alpha) > 0.5).view(1, -1, 1, 1)
            found[t] = torch.where(mask, F.relu(self.own[t](x)), shared)
        return found

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.features(x)
        weights = torch.softmax(self.beta, 1)
        mixed = sum(weights[:, i].view(1, -1, 1, 1) * found[t] for i, t in enumerate(TASKS))
        shared = F.relu(self.two(mixed))
        return {t: self.heads[t](torch.cat([found[t], shared], 1).mean((2, 3))) for t in TASKS}


class Sliced(nn.Module):
    """The static network that `Gated` describes, cut by hand."""

    def __init__(self, gated: Gated) -> None:
        super().__init__()
        closed = [c for c in range(WIDTH) if any(c not in OPEN[t] for t in TASKS)]
        self.psi = rows(gated.psi, closed)
        self.own = nn.ModuleDict({t: rows(gated.own[t], OPEN[t]) for t in TASKS})
        for t in TASKS:
            at = {c: i for i, c in enumerate(OPEN[t])}
            index = [at[c] if c in at else len(at) + closed.index(c) for c in range(WIDTH)]
            self.register_buffer(f"index_{t}", torch.tensor(index))
        self.beta = nn.Parameter(gated.beta.detach().clone())
        self.two = rows(gated.two, list(range(4)))
        self.heads = nn.ModuleDict({t: gated.heads[t] for t in TASKS})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        shared = F.relu(self.psi(x))
        found = {}
        for t in TASKS:
            join = torch.cat([F.relu(self.own[t](x)), shared], 1)
            found[t] = join.index_select(1, self.get_buffer(f"index_{t}"))
        weights = torch.softmax(self.beta, 1)
        mixed = sum(weights[:, i].view(1, -1, 1, 1) * found[t] for i, t in enumerate(TASKS))
        last = F.relu(self.two(mixed))
        return {t: self.heads[t](torch.cat([found[t], last], 1).mean((2, 3))) for t in TASKS}


def conv(inputs: int, outputs: int, g: torch.Generator) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, 3, padding=1)
    return fill(made, g)


def linear(inputs: int, outputs: int, g: torch.Generator) -> nn.Linear:
    return fill(nn.Linear(inputs, outputs), g)


def fill(module: nn.Module, g: torch.Generator) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g) * 0.4)
    return module


def rows(source: nn.Conv2d, kept: list[int]) -> nn.Conv2d:
    made = nn.Conv2d(source.in_channels, len(kept), 3, padding=1, dtype=source.weight.dtype)
    with torch.no_grad():
        made.weight.copy_(source.weight[kept])
        made.bias.copy_(source.bias[kept])
    return made


def pair(dtype: torch.dtype = torch.float32) -> tuple[Gated, Sliced]:
    """The gated network and its hand-sliced twin, which shares no parameter with it."""
    gated = Gated().to(dtype).eval()
    return gated, copy.deepcopy(Sliced(gated)).eval()


def inputs(batch: int = 2, size: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.randn(batch, 3, size, size, generator=g).to(dtype)


@dataclass(frozen=True)
class Pair:
    """The gated network and its hand-sliced twin, as modules and as programs."""

    gated: Gated
    sliced: Sliced
    reference: Program
    candidate: Program


def make_pair(dtype: torch.dtype) -> Pair:
    gated, sliced = pair(dtype)
    x = inputs(dtype=dtype)
    return Pair(gated, sliced, capture(gated, x), capture(sliced, x))


def write_onnx(
    net: Sliced,
    path: Path,
    *,
    names: tuple[str, str] = TASKS,
    values: tuple[str, str] = TASKS,
    join: int | None = None,
    batch: int | str = "batch",
    square: int | str = "size",
) -> Path:
    """Writes a `Sliced` as ONNX node by node.

    Output i is called `names[i]` and holds the values of the task `values[i]`. `join` declares
    that the joined features have so many channels, rightly or not.
    """
    nodes: list[onnx.NodeProto] = []
    tensors: list[TensorProto] = []

    def tensor(name: str, value: Tensor) -> str:
        tensors.append(numpy_helper.from_array(value.detach().numpy(), name))
        return name

    def node(kind: str, ins: list[str], out: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, ins, [out], name=out, **attributes))
        return out

    def convolve(x: str, layer: nn.Conv2d, name: str) -> str:
        ins = [x, tensor(f"{name}.weight", layer.weight), tensor(f"{name}.bias", layer.bias)]
        return node("Relu", [node("Conv", ins, f"{name}.conv", pads=[1] * 4)], f"{name}.relu")

    shared = convolve("x", net.psi, "psi")
    found = {}
    for t in TASKS:
        joined = node(
            "Concat", [convolve("x", net.own[t], f"own.{t}"), shared], f"{t}.join", axis=1
        )
        index = tensor(f"{t}.index", net.get_buffer(f"index_{t}"))
        found[t] = node("Gather", [joined, index], f"{t}.take", axis=1)
    mix = torch.softmax(net.beta.detach(), 1)
    parts = []
    for i, t in enumerate(TASKS):
        weight = tensor(f"mix.{t}", mix[:, i].reshape(1, -1, 1, 1))
        parts.append(node("Mul", [found[t], weight], f"{t}.part"))
    last = convolve(node("Add", parts, "mixed"), net.two, "two")
    for name, t in zip(names, values, strict=True):
        everything = node("Concat", [found[t], last], f"{name}.everything", axis=1)
        pooled = node("GlobalAveragePool", [everything], f"{name}.pool")
        flat = node("Flatten", [pooled], f"{name}.flat")
        head = net.heads[t]
        ins = [
            flat,
            tensor(f"heads.{name}.weight", head.weight),
            tensor(f"h.{name}.bias", head.bias),
        ]
        node("Gemm", ins, name, transB=1)
    shape = [batch, WIDTH if join is None else join, square, square]
    declared = helper.make_tensor_value_info("seg.join", TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes,
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, square, square])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 3]) for n in names],
        tensors,
        value_info=[declared] if join is not None else [],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.save(model, str(path))
    return path
