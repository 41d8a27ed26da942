"""The pass loop, lint, records, and what each pass promises on its own."""

from __future__ import annotations

import copy

import pytest
import torch
from slowness import slow_but
from torch import Tensor, fx, nn

import igc
from igc.capture import capture
from igc.compiler import compilation
from igc.errors import BadInput, LintError
from igc.passes import PIPELINE, Record, run_passes
from igc.passes.cleanup import MergeDuplicates
from igc.program import Program
from igc.program.decisions import snapped
from igc.program.execute import execute
from igc.program.lint import lint
from igc.testing import ARCHITECTURES, architecture, assert_equal, build, kernel_elements


@pytest.mark.parametrize(
    "name", slow_but({"conv1d"}, ["conv1d", "residual_cnn", "transformer", "multi_scale"])
)
def test_every_pass_keeps_the_function(name: str) -> None:
    """After each pass the program still computes the gated outputs, in float64."""
    assert name in ARCHITECTURES
    net, inputs = build(architecture(name, tasks=2, seed=11))
    doubles = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    program = capture(copy.deepcopy(net).double(), doubles)
    want = execute(program, doubles)
    seen = []

    def compare(name: str, after: Program) -> None:
        seen.append(name)
        for a, b in zip(want, execute(after, doubles), strict=True):
            assert (a - b).abs().max() <= 1e-10 * a.abs().max().clamp_min(1e-30)

    record = Record()
    run_passes(program, record, after=compare)
    assert seen == [p.name for p in PIPELINE]
    assert [r.name for r in record.rows] == [p.name for p in PIPELINE]


def test_stop_after_stops() -> None:
    net, inputs = build(architecture("mlp", tasks=2, seed=1))
    record = Record()
    run_passes(capture(net, inputs), record, stop_after="slice channels")
    assert record.rows[-1].name == "slice channels"


def test_compiling_a_static_network_keeps_its_kernels() -> None:
    net, inputs = build(architecture("conv1d", tasks=2, seed=2))
    static = igc.compile(net, inputs)
    again = igc.compile(static, inputs)
    assert kernel_elements(again) == kernel_elements(static)
    assert_equal(static.double(), again.double(), inputs, tolerance=1e-6)


def test_the_source_module_is_not_changed() -> None:
    net, inputs = build(architecture("mlp", tasks=2, seed=3))
    before = copy.deepcopy(net.state_dict())
    static = igc.compile(net, inputs)
    with torch.no_grad():
        for parameter in static.parameters():
            parameter.fill_(7.0)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def _program(*ops: tuple[str, object, tuple[object, ...]], output: str) -> Program:
    base = capture(nn.Identity(), torch.randn(2, 3, 4))
    graph = fx.Graph()
    env: dict[str, fx.Node] = {"x": graph.placeholder("x")}
    for name, target, args in ops:
        env[name] = graph.call_function(
            target,
            tuple(env.get(a, a) if isinstance(a, str) else a for a in args),  # type: ignore[arg-type]
        )
    graph.output([env[output]])
    return base.with_graph(graph, {})


def test_lint_refuses_a_graph_that_does_not_run() -> None:
    aten = torch.ops.aten
    bad = _program(("y", aten.reshape.default, ("x", [7, 7])), output="y")
    with pytest.raises(LintError, match="after 'test'"):
        lint(bad, "test")


def test_lint_refuses_a_batch_that_was_burnt_in() -> None:
    aten = torch.ops.aten
    bad = _program(("y", aten.reshape.default, ("x", [2, 12])), output="y")
    with pytest.raises(LintError):
        lint(bad, "test")


def test_duplicates_are_merged_and_distinct_scalars_are_not() -> None:
    aten = torch.ops.aten
    same = _program(
        ("a", aten.add.Tensor, ("x", 1)), ("b", aten.add.Tensor, ("x", 1)),
        ("c", aten.mul.Tensor, ("a", "b")), output="c",
    )  # fmt: skip
    assert len(MergeDuplicates()(same, Record()).graph.nodes) == len(same.graph.nodes) - 1
    different = _program(
        ("a", aten.add.Tensor, ("x", 1)), ("b", aten.add.Tensor, ("x", 2)),
        ("c", aten.mul.Tensor, ("a", "b")), output="c",
    )  # fmt: skip
    assert MergeDuplicates()(different, Record()) is different


def test_equal_weights_of_two_branches_stay_apart() -> None:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)
            self.b = copy.deepcopy(self.a)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": self.a(x), "b": self.b(x)}

    static = igc.compile(Twins(), torch.randn(2, 4))
    assert sum(p.numel() for p in static.parameters()) == 2 * (4 * 3 + 3)


def test_one_module_called_twice_on_one_input_runs_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": torch.relu(self.a(x)), "b": torch.tanh(self.a(x))}

    result = compilation(Tied(), torch.randn(2, 4))
    linears = [n for n in result.program.graph.nodes if n.target is torch.ops.aten.linear.default]
    assert len(linears) == 1


def test_a_hard_gate_is_snapped_and_a_mix_is_not() -> None:
    gate = torch.tensor([0.99999994, 0.0, 1.0, 6e-8])
    assert torch.equal(snapped(gate), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    mix = torch.tensor([0.25, 0.75, 1.0])
    assert torch.equal(snapped(mix), mix)
    small = torch.tensor([1e-6, 1e-6])
    assert torch.equal(snapped(small), small)


def test_batch_norm_that_cannot_be_folded_says_why() -> None:
    class Before(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.norm(x))

    remarks = compilation(Before(), torch.randn(2, 3, 8, 8)).record.remarks
    assert [(r.kind, r.layer) for r in remarks] == [("declined", "norm")]
    assert "not right after a convolution" in remarks[0].reason


def test_a_product_without_a_bias_keeps_its_batch_norm() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.norm = nn.Parameter(torch.randn(4, 6)), nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x @ self.weight)

    net, x = Product().eval(), torch.randn(3, 4)
    found = compilation(net, x)
    assert [(r.kind, r.layer) for r in found.record.remarks] == [("declined", "norm")]
    (out,) = execute(found.program, [x])
    torch.testing.assert_close(out, net(x))


def test_an_op_without_a_rule_is_opaque_named_and_correct() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(4, 6)
            self.register_buffer("g", torch.tensor([1.0, 0, 1, 0, 0, 1]))
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.g * self.a(x) + (1 - self.g) * self.b(x)
            return self.head(torch.logcumsumexp(y, 1))

    net = Gated().double()
    x = torch.randn(3, 4, dtype=torch.float64)
    result = compilation(net, x)
    assert ("opaque", "aten.logcumsumexp.default") in [
        (r.kind, r.op) for r in result.record.remarks
    ]
    assert (result.static(x) - net(x)).abs().max() <= 1e-12
    assert result.static.get_parameter("a.weight").shape == (3, 4)


def test_tasks_can_be_chosen_and_keep_the_declared_order() -> None:
    net, inputs = build(architecture("conv1d", tasks=3, returns="dict", seed=4))
    names = list(net(*inputs))
    program = capture(net, inputs)
    static = igc.compile(program, tasks=[names[2], names[0]])
    found = static(*inputs)
    assert list(found) == list(static.outputs) == [names[0], names[2]]
    assert igc.verify(program, static, inputs, tasks=[names[2], names[0]]).passed
    whole = igc.compile(program)
    assert sum(p.numel() for p in static.parameters()) < sum(p.numel() for p in whole.parameters())
    torch.testing.assert_close(found[names[0]], net(*inputs)[names[0]])
    with pytest.raises(BadInput, match="nonsense"):
        igc.compile(program, tasks=["nonsense"])


def test_gathers_along_the_last_axis_move_first() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)
            self.register_buffer("g", torch.tensor([1.0, 0, 1, 0, 0, 1]))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.g * self.a(x) + (1 - self.g) * self.b(x))

    net = Tokens().double()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    result = compilation(net, x)
    gathers = [n for n in result.program.graph.nodes
               if n.target is torch.ops.aten.index_select.default]  # fmt: skip
    assert [n.args[1] for n in gathers] == [0]
    assert (result.static(x) - net(x)).abs().max() <= 1e-12
