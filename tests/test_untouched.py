"""Every public function leaves what it was given as it was: modules, programs, tensors, modes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.passes import PIPELINE, Record, run_passes
from igc.program import Program

SHAPE = (2, 3, 8, 8)


class Backbone(nn.Module):
    """Two convolutions; in training mode, with statistics that a forward would change."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).mean((2, 3))


def heads() -> dict[str, nn.Module]:
    return {"seg": nn.Linear(6, 2), "depth": nn.Linear(6, 1)}


def gated() -> nn.Module:
    net = igc.gate(Backbone(), heads=heads(), at=["first", "second"])
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("alpha"):
                parameter.uniform_(-1, 1)
    return net.train()


def of_module(module: nn.Module) -> Any:
    """All that can be seen of a module: tensors by value and identity, modes, attributes, hooks."""
    return [
        (
            name,
            type(m),
            m.training,
            sorted(vars(m)),
            [(k, id(t), t.requires_grad, t.clone()) for k, t in tensors(m)],
            {k: v for k, v in vars(m).items() if isinstance(v, (int, str, tuple, list))},
        )
        for name, m in module.named_modules()
    ]


def tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def of_program(program: Program) -> Any:
    """All that can be seen of a program: every node with its meta, every constant by value."""
    return (
        [
            (n.name, n.op, str(n.target), repr(n.args), repr(dict(n.kwargs)), repr(dict(n.meta)))
            for n in program.graph.nodes
        ],
        [(k, v.dtype, v.clone()) for k, v in program.constants.items()],
        (program.inputs, program.outputs, str(program.out_spec), dict(program.sizes)),
        (program.gates, program.mixes, dict(program.origins), dict(program.kinds)),
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def x() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


#: What each public function is given here; a source is a gated module, a static one or a program.
CALLS: dict[str, Callable[[Any, Path], Any]] = {
    "compile": lambda net, at: igc.compile(net, x()),
    "deliver": lambda net, at: igc.deliver(
        net, at / "m.onnx", x(), torch=at / "s.pt", source=at / "source", report=at / "r.html"
    ),
    "save": lambda net, at: igc.save(net, at / "net.pt", x()),
    "sparsity_loss": lambda net, at: igc.sparsity_loss(net, kind="l1").backward(),
    "inspect": lambda net, at: igc.inspect(net),
    "explain": lambda net, at: igc.explain(net, example_inputs=x()),
    "report": lambda net, at: igc.report(net, igc.compile(net, x())),
    "verify": lambda net, at: igc.verify(net, igc.compile(net, x())),
}
ON_STATIC: dict[str, Callable[[Any, Path], Any]] = {
    "export_onnx": lambda static, at: igc.export_onnx(static, at / "m.onnx"),
    "StaticNetwork": lambda static, at: (static.save(at / "s.pt"), static.export(at / "source")),
    "verify": lambda static, at: igc.verify(static, static),
    "report": lambda static, at: igc.report(static),
}
ELSEWHERE = {"__version__": "no function", "load": "is given a path", "gate": "tested below"}


def test_every_public_name_is_tried() -> None:
    assert set(igc.__all__) == {*CALLS, *ON_STATIC, *ELSEWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_gated_module_stays_as_it_was(name: str, tmp_path: Path) -> None:
    net = gated()
    before = of_module(net)
    CALLS[name](net, tmp_path)
    assert same(before, of_module(net))


@pytest.mark.parametrize("name", ON_STATIC)
def test_a_static_network_stays_as_it_was(name: str, tmp_path: Path) -> None:
    static = igc.compile(gated(), x()).train()
    before = of_module(static), of_program(static.to_program())
    ON_STATIC[name](static, tmp_path)
    assert same(before, (of_module(static), of_program(static.to_program())))


def test_a_backbone_and_its_heads_stay_as_they_were() -> None:
    backbone, given = Backbone().train(), heads()
    before = of_module(backbone), {k: of_module(v) for k, v in given.items()}
    igc.gate(backbone, heads=given, at=["first"])
    assert same(before, (of_module(backbone), {k: of_module(v) for k, v in given.items()}))


def test_a_program_stays_as_it_was_through_compile_and_every_pass() -> None:
    program = capture(gated(), x())
    before = of_program(program)
    igc.compile(program)
    assert same(before, of_program(program))
    seen = [program]

    def after(name: str, result: Program) -> None:
        assert same(before_of[-1], of_program(seen[-1])), name
        seen.append(result)
        before_of.append(of_program(result))

    before_of = [before]
    run_passes(program, Record(), PIPELINE, after=after)


def test_a_change_is_seen() -> None:
    net, program = gated(), capture(gated(), x())
    before, at_first = of_module(net), of_program(program)
    net.eval()
    next(iter(program.graph.nodes)).meta["near"] = "here"
    assert not same(before, of_module(net)) and not same(at_first, of_program(program))
