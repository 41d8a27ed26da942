"""The auditor stays small, keeps away from the passes, and is right about every idiom."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from audit_nets import certified
from torch import nn

import igc
import igc.audit
from igc.models.vit import ViT
from igc.testing import architecture, build
from igc.verifying.unread import Unread, tilted

FILES = sorted(Path(igc.audit.__file__).parent.glob("*.py"))
FORBIDDEN = ("igc.passes", "igc.compile", "igc.emit", "igc.analysis.liveness", "igc.analysis.forms")


def test_it_has_less_than_400_lines() -> None:
    assert 0 < sum(len(f.read_text().splitlines()) for f in FILES) < 400


def test_it_imports_nothing_of_the_compiler() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.startswith(FORBIDDEN)], file


def test_an_audit_loads_no_pass(original) -> None:
    """Not even by way of something else: what it runs is asked in a fresh process."""
    script = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import igc
from igc.audit import audit
from igc.certificate import hashes
network = igc.load({str(original.checkpoint)!r})
found = audit(Path({str(original.onnx)!r}), network.to_program(),
              hashes(Path({str(original.checkpoint)!r}), network))
assert found.passed, found.failures
loaded = [n for n in sys.modules if n.startswith(("igc.passes", "igc.compile", "igc.analysis.li"))]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


CASES = [
    ("plain_cnn", "weight_mask", "stack", "cut", "generic"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ("residual_cnn", "straight_through", "einsum", "mixed", "zeros"),
            ("transformer", "where", "buffer", "random", "generic"),
            ("grouped", "lerp", "chain", "random", "twins"),
        )
    ),
]


@pytest.mark.parametrize(("name", "idiom", "mix", "pattern", "weights"), CASES)
def test_every_idiom_is_certified(tmp_path, name, idiom, mix, pattern, weights) -> None:
    spec = architecture(name, tasks=3, idiom=idiom, mix=mix, pattern=pattern, seed=5)
    net, inputs = build(replace(spec, weights=weights))
    found = certified(net, inputs, tmp_path).audit()
    assert found.passed, found.failures
    assert found.left_out


@pytest.mark.slow
def test_a_vision_transformer_is_certified(tmp_path) -> None:
    torch.manual_seed(0)
    backbone = ViT(24, 2, 3, image=(32, 32), split_qkv=True)
    net = igc.gate(backbone, heads={"a": nn.Linear(24, 3), "b": nn.Linear(24, 2)}, at="layer")
    with torch.no_grad():
        for alpha in net.gate_parameters():
            alpha.copy_(torch.randn_like(alpha) - 0.3)
    found = certified(net, (torch.zeros(2, 3, 32, 32),), tmp_path).audit()
    assert found.passed, found.failures


class Selected(nn.Module):
    """A where-gate on the first of two layers: one channel of the task's own, three shared."""

    def __init__(self, dead: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.own, self.shared, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_buffer("mask", torch.tensor([True, False, False, False]))
        if dead:  # the ReLU is off whatever the input
            self.own.bias.data[0] = -1000.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.where(self.mask, self.own(x).relu(), self.shared(x).relu()))


@pytest.mark.parametrize("dead", [False, True])
def test_a_row_that_is_read_and_left_out_is_found(dead: bool) -> None:
    """Also behind a ReLU that is off for every input: then by the tilted run alone."""
    x = torch.randn(2, 4)
    program = igc.capture.capture(Selected(dead).eval(), x)
    held = {n: torch.ones(t.shape, dtype=torch.bool) for n, t in program.constants.items()}
    held["own.weight"][1:] = False
    truth = Unread(program, program, held, [0], [x])
    assert truth.culprits()[0] == []
    assert truth.elements == 12
    held["own.weight"][0, 2] = False
    wrong = Unread(program, program, held, [0], [x])
    assert wrong.culprits()[0] == ["own.weight"]
    plain = wrong.run(wrong.plain, ["own.weight"])[0]
    assert torch.equal(plain, wrong.base[0][0]) == dead


def test_tilting_leaves_constants_alone() -> None:
    x = torch.randn(2, 4)
    program = igc.capture.capture(Selected().eval(), x)
    targets = [str(n.target) for n in tilted(program).graph.nodes]
    assert sum("_tilt" in t for t in targets) == 2
