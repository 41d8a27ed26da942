"""Capture: what is dynamic, what is refused, and that the module is left as it was."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.errors import BadInput, Refused
from igc.program.execute import execute


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = F.relu_(self.norm(self.conv(x)))
        y += 1.0
        return {"class": self.head(F.dropout(y.mean((2, 3)), 0.5, self.training)), "map": y}


def agree(net: nn.Module, x: Tensor, *more: Tensor) -> None:
    program = capture(net, (x,))
    net.eval()
    for each in (x, *more):
        want = torch.utils._pytree.tree_leaves(net(each))
        for a, b in zip(want, execute(program, [each]), strict=True):
            assert torch.equal(a, b)


def test_batch_and_image_size_are_dynamic() -> None:
    agree(Net(), torch.randn(1, 3, 8, 8), torch.randn(3, 3, 8, 8), torch.randn(2, 3, 6, 10))


def test_flattened_networks_keep_their_image_size_and_a_dynamic_batch() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 5))
    program = capture(net, (torch.randn(2, 3, 8, 8),))
    assert program.inputs[0].dims[1:] == (3, 8, 8)
    assert isinstance(program.inputs[0].dims[0], str)
    agree(net, torch.randn(2, 3, 8, 8), torch.randn(5, 3, 8, 8))


def test_the_module_is_left_as_it_was() -> None:
    net = Net()
    net.norm.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    program = capture(net, (torch.randn(2, 3, 8, 8),))
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert program.constants["conv.weight"].data_ptr() == net.conv.weight.data_ptr()


def test_outputs_are_named_after_their_place() -> None:
    class Many(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
            return x + 1, [x + 2, x + 3], {"depth": x + 4}

    program = capture(Many(), torch.randn(2, 3))
    assert program.outputs == ("output_0", "output_1_0", "output_1_1", "2.depth")


def test_in_place_calls_on_views_are_seen_through() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            y[:, 0].add_(5.0)
            half = y.view(y.shape[0], -1)
            half.mul_(3.0)
            return y

    agree(Views(), torch.randn(2, 3, 4), torch.randn(4, 3, 4))


def test_a_forward_with_side_effects_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add_(1)
            return x + 1

    with pytest.raises(BadInput, match="seen"):
        capture(Counter(), torch.randn(2, 3))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [((), "example_inputs"), ("x", "example_inputs"), ((torch.randn(2, 3), 1), r"\[1\]"),
     ((torch.randn(2, 5, 8, 8),), "2, 5, 8, 8")],
)  # fmt: skip
def test_wrong_inputs_get_one_line(inputs: object, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        capture(Net(), inputs)  # type: ignore[arg-type]  # wrong on purpose
    assert "\n" not in str(caught.value)


def test_control_flow_on_values_names_what_failed() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(Refused, match=r"test_capture.py:\d+ 'return x \+ 1 if .* asks for a value"):
        capture(Branching(), torch.randn(2, 3))


def test_gates_and_mixes_of_igc_nn_are_known_by_name() -> None:
    import igc

    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU())
    heads = {"a.b": nn.Flatten(), "c": nn.Flatten()}
    net = igc.gate(backbone, heads=heads, at="layer")
    program = capture(net, (torch.randn(2, 3, 8, 8),))
    assert set(program.gates) == set(net.gates) and set(program.mixes) == set(net.mixes)
    for layer, by_task in program.gates.items():
        for task, name in by_task.items():
            assert torch.equal(program.constants[name], net.gates[layer][task].alpha)


class Windows(nn.Module):
    """Pads to whole windows, cuts them and puts them back, and halves the picture, as Swin does."""

    def __init__(self, stages: int) -> None:
        super().__init__()
        self.mixes = nn.ModuleList(nn.Linear(4, 4) for _ in range(stages))

    def forward(self, x: Tensor) -> Tensor:
        for mix in self.mixes:
            _, height, width, _ = x.shape
            x = F.pad(x, (0, 0, 0, (7 - width % 7) % 7, 0, (7 - height % 7) % 7))
            batch, tall, wide, _ = x.shape
            x = x.view(batch, tall // 7, 7, wide // 7, 7, 4).permute(0, 1, 3, 2, 4, 5)
            x = mix(x.reshape(-1, 49, 4)).view(batch, tall // 7, wide // 7, 7, 7, 4)
            x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, tall, wide, 4)
            x = x[:, :height, :width][:, ::2, ::2]
        return x


@pytest.mark.slow
def test_sizes_tangled_beyond_measure_are_fixed_and_the_batch_is_not() -> None:
    net = Windows(2)
    program = capture(net, torch.randn(2, 18, 20, 4))
    assert list(program.sizes) == ["batch"]
    x = torch.randn(5, 18, 20, 4)
    torch.testing.assert_close(execute(program, [x])[0], net(x))


def test_the_limit_on_sizes_is_what_fixes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    before = ShapeEnv.evaluate_expr
    net, x = nn.Conv2d(3, 4, 3, 2), torch.randn(2, 3, 9, 9)
    assert list(capture(net, x).sizes) == ["batch", "height", "width"]
    monkeypatch.setattr("igc.capture.questions.LIMIT", 5)
    assert list(capture(net, x).sizes) == ["batch"]
    assert ShapeEnv.evaluate_expr is before


class HalvedThenNormed(nn.Module):
    """At batch 2 and height 6, half the height is the batch: torch takes one for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        z: Tensor = nn.functional.layer_norm(y.movedim(1, -1), (4,)).movedim(-1, 1)
        return z.reshape(y.shape) + y.flip(2)


@pytest.mark.slow
def test_a_size_that_happens_to_be_the_batch_is_told_from_it() -> None:
    net = HalvedThenNormed().eval()
    program = capture(net, (torch.randn(2, 3, 6, 6, 6),))
    for shape in ((1, 3, 6, 6, 6), (3, 3, 8, 10, 12), (5, 3, 11, 11, 11)):
        x = torch.randn(shape)
        torch.testing.assert_close(execute(program, (x,))[0], net(x))


class Remembers(nn.Linear):
    """Keeps a table by device, as timm's LeViT and EfficientFormer do, and its last sizes."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.table = nn.Parameter(torch.randn(9))
        self.known: dict[str, Tensor] = {}
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if "table" not in self.known:
            self.known["table"] = self.table[torch.arange(4)]
        self.seen.append(x.ndim)
        self.last = x.ndim
        # torch cannot export this with sizes of its own, so it is captured a second time
        return super().forward(x) + self.known["table"] * (1 if x.shape[-2] == 5 else 2)


@pytest.mark.slow
def test_what_a_forward_stores_is_gone_afterwards() -> None:
    net, x = nn.Sequential(Remembers()).train(), torch.randn(2, 3, 5, 4)
    program = capture(net, x)
    assert net.training and net[0].known == {} and net[0].seen == []
    assert not hasattr(net[0], "last")
    want = net.eval()(x)  # stores real tensors
    torch.testing.assert_close(execute(program, [x])[0], want, rtol=0, atol=0)
    kept = net[0].known["table"]
    again = capture(net, x)
    assert net[0].known == {"table": kept} and net[0].seen == [4]
    torch.testing.assert_close(execute(again, [x])[0], want, rtol=0, atol=0)


class Distances(nn.Module):
    """Positions scaled by the quotient of two sizes, as multi-scale attention has them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.conv(x), F.avg_pool2d(self.conv(x), 2)
        ratio = max(fine.shape[-1] / coarse.shape[-1], 1.0)
        near = torch.arange(fine.shape[-1]) - torch.arange(fine.shape[-1]) * ratio
        return fine + near


@pytest.mark.slow
def test_sizes_divided_with_a_remainder_are_fixed_and_the_batch_is_not() -> None:
    net, x = Distances().eval(), torch.randn(3, 3, 16, 16)
    program = capture(net, x[:2])
    assert program.inputs[0].dims == ("batch", 3, 16, 16)
    (got,) = execute(program, [x])
    assert torch.equal(got, net(x))


class Standardised(nn.Conv2d):
    """A kernel standardised by a batch norm without statistics, as weight standardisation does."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = F.batch_norm(self.weight.reshape(1, 5, -1), None, None, training=True)
        return F.conv2d(x, kernel.reshape_as(self.weight), self.bias)


@pytest.mark.slow
@pytest.mark.parametrize("decomposed", [False, True])
def test_standardised_kernels_become_plain_ones(
    decomposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if decomposed:  # torch then writes batch norms as operations with three outputs
        monkeypatch.setattr("igc.capture.export.functionalized", lambda *_: None)
    net, x = Standardised(3, 5, 3).eval(), torch.randn(2, 3, 8, 8)
    static = igc.compile(net, (x,))
    targets = {str(n.target) for n in static.program.graph.nodes if n.op == "call_function"}
    assert targets == {"aten.conv2d.default"}
    assert igc.verify(net, static, x).passed


def test_one_file_calls_torch_export() -> None:
    """Another one, which turns its result into a program, imports types of it."""
    found: dict[str, set[str]] = {}
    for path in Path(igc.__file__).with_name("capture").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("torch.export."):
                found.setdefault(path.name, set()).update(a.name for a in node.names)
            elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.export":
                found.setdefault(path.name, set()).add("torch.export")
    assert found == {
        "export.py": {"Dim", "default_decompositions", "export"},
        "program.py": {"ExportedProgram", "InputKind", "OutputKind"},
        "symbols.py": {"ExportedProgram", "InputKind"},
    }
