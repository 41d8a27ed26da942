"""The static network is an ordinary module: it prints, trains, copies, converts, exports."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch_pruning
from emit_nets import Branches, Function, branches, image, run, tokens
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igc.capture import capture
from igc.emit import StaticNetwork, emit
from igc.errors import BadInput
from igc.program import Program
from igc.program.execute import execute

ORDINARY = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)


@pytest.mark.parametrize("make", [branches, tokens])
def test_is_the_program_bit_for_bit(make: Callable[[], tuple[nn.Module, Program, Tensor]]) -> None:
    net, program, x = make()
    static = emit(program)
    with torch.no_grad():
        expected, got = net(x), static(x)
    assert pytree.tree_structure(got) == pytree.tree_structure(expected)
    pairs = zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True)
    for (a, b), c in zip(pairs, run(program, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert torch.equal(a, c)


def test_is_made_of_ordinary_layers_under_the_users_names() -> None:
    _, program, _ = branches()
    static = emit(program)
    assert isinstance(static, StaticNetwork)
    assert not static.training
    children = dict(static.named_children())
    assert set(children) == {"shared_0", "shared_1", "seg_layer1", "mixed", "dense", "label"}
    assert all(type(child) in ORDINARY for child in children.values())
    assert dict(static.named_buffers()).keys() >= {"picked", "shared_1.running_mean"}
    assert "self.seg_layer1(" in static.source
    assert "torch.ops" not in static.source
    assert "Conv2d(3, 6, kernel_size=(3, 3)" in repr(static)
    assert static.outputs == static.tasks == ("seg", "label")


SHAPES: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x.relu(),
    "tuple": lambda x: (x.relu(), x.exp()),
    "single": lambda x: (x.relu(),),
    "list": lambda x: [x.relu(), (x.exp(),)],
    "dict": lambda x: {"seg": x.relu(), 3: {"deep": [x.exp()]}},
    "ordered": lambda x: OrderedDict([("b", x.relu()), ("a", x.exp())]),
    "twice": lambda x: [x.relu()] * 2,
    "input": lambda x: (x, x.relu()),
}


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_returns_the_same_structure(make: Callable[[Tensor], Any]) -> None:
    x = image()
    got = emit(capture(Function(make), (x,)))(x)
    expected = make(x)
    assert pytree.tree_structure(got) == pytree.tree_structure(expected)
    assert type(got) is type(expected)
    for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True):
        assert torch.equal(a, b)


def test_takes_several_inputs_and_other_batches() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x * y.reshape(y.shape[0], -1, 1, 1)

    static = emit(capture(Two(), (image(), torch.randn(2, 3))))
    x, y = image(5, 8), torch.randn(5, 3)
    assert torch.equal(static(x, y), x * y[:, :, None, None])
    with pytest.raises(TypeError, match="positional argument"):
        static(x)


def test_runs_in_double_and_half_and_copies_are_independent() -> None:
    net, program, x = branches()
    static = emit(program)
    before = static(x)["seg"]
    double = copy.deepcopy(static).double()
    with torch.no_grad():
        exact = copy.deepcopy(net).double()(x.double())["seg"]
        assert double(x.double())["seg"].sub(exact).abs().max() <= 1e-10 * exact.abs().max()
        double.dense.weight.zero_()
        half = copy.deepcopy(static).half()(x.half())["seg"]
    assert half.dtype == torch.float16
    assert half.sub(before).abs().max() < 0.05 * before.abs().max()
    assert torch.equal(static(x)["seg"], before)


def test_casts_follow_the_networks_type() -> None:
    static = emit(capture(Function(lambda x: (x > 0).to(torch.float32) * x), (image(),)))
    typed = emit(capture(Branches().eval(), (image(),)), dtype=torch.float64)
    assert {p.dtype for p in typed.parameters()} == {torch.float64}
    assert typed.to_program().dtype == torch.float64
    assert static(image()).dtype == torch.float32


def test_high_precision_constants_are_cast() -> None:
    _, program, x = branches()
    folded = {k: v.double() if v.is_floating_point() else v for k, v in program.constants.items()}
    kinds = {k: torch.float32 for k, v in folded.items() if v.is_floating_point()}
    static = emit(replace(program, constants=folded, kinds=kinds))
    assert {p.dtype for p in static.parameters()} == {torch.float32}
    assert torch.equal(static(x)["seg"], emit(program)(x)["seg"])


def test_training_it_leaves_its_source_alone() -> None:
    net, x = Branches().eval(), image()
    static = emit(capture(net, (x,))).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.SGD(static.parameters(), lr=0.1)
    first = None
    for _ in range(5):
        loss = sum(v.square().mean() for v in static(x).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first = first or loss.item()
    assert loss.item() < 0.9 * first
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in static.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_batch_norm_trains_as_in_the_source() -> None:
    net, program, x = branches()
    static = emit(program).train()
    net.train()
    for name, value in net(x).items():
        torch.testing.assert_close(static(x)[name], value, rtol=1e-4, atol=1e-4)
    static.shared_1.load_state_dict(net.shared[1].state_dict())
    for name, value in net.eval()(x).items():
        torch.testing.assert_close(static.eval()(x)[name], value, rtol=1e-4, atol=1e-4)


def test_a_layer_used_twice_is_one_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x).relu())

    static = emit(capture(Twice().eval(), (image(),)))
    assert [type(c) for c in static.children()] == [nn.Conv2d]
    assert len(list(static.parameters())) == 2


def test_tied_weights_with_other_biases_stay_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).relu())

    net, x = Tied().eval(), torch.randn(2, 3)
    static = emit(capture(net, (x,)))
    assert len(list(static.parameters())) == 3
    torch.testing.assert_close(static(x), net(x))
    static(x).sum().backward()
    net(x).sum().backward()
    weight = next(p for p in static.parameters() if p.ndim == 2)
    torch.testing.assert_close(weight.grad, net.a.weight.grad)


def test_buffers_of_the_source_are_not_trained() -> None:
    _, program, _ = branches()
    noted = replace(program, note={"buffers": ["mean"]})
    assert "mean" in dict(emit(noted).named_buffers())
    assert "weights" in dict(emit(noted).named_parameters())


def test_to_program_has_the_current_values() -> None:
    _, program, x = branches()
    static = emit(program)
    with torch.no_grad():
        for p in static.parameters():
            p.add_(0.1 * torch.randn_like(p))
    for a, b in zip(execute(static.to_program(), (x,)), static(x).values(), strict=True):
        assert torch.equal(a, b)
    again = emit(static.program)
    assert torch.equal(again(x)["seg"], static(x)["seg"])
    double = static.double().to_program()
    assert double.dtype == double.inputs[0].dtype == torch.float64


def test_a_cut_layer_is_refused_with_advice() -> None:
    static = emit(branches()[1])
    static.label = nn.Linear(12, 3)
    with pytest.raises(BadInput, match=r"'label.weight' has shape \(3, 12\).*compile it again"):
        static.to_program()


def test_torch_export_keeps_the_batch_dynamic() -> None:
    _, program, x = branches()
    static = emit(program)
    exported = torch.export.export(static, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    y = image(5)
    for a, b in zip(exported.module()(y).values(), static(y).values(), strict=True):
        torch.testing.assert_close(a, b)


def test_torch_pruning_prunes_it_further() -> None:
    static, x = emit(branches()[1]), image()
    fixed = static.gathered_layers()
    assert [type(m) for m in fixed] == [nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]
    assert static.mixed not in fixed
    pruner = torch_pruning.pruner.MagnitudePruner(
        static, (x,), importance=torch_pruning.importance.MagnitudeImportance(), pruning_ratio=0.5,
        ignored_layers=[*fixed, static.dense, static.label],
        unwrapped_parameters=[(static.weights, 1), (static.mean, 0)],
    )  # fmt: skip
    before = static(x)
    pruner.step()
    assert static.mixed.out_channels == static.label.in_features == 6
    after = static(x)
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    assert torch.equal(after["seg"], before["seg"])
    program = capture(static, (x,))
    assert torch.equal(emit(program)(x)["label"], after["label"])


def test_an_unknown_structure_is_refused() -> None:
    class Point(tuple):
        pass

    _, program, _ = branches()
    pytree.register_pytree_node(Point, lambda p: (list(p), None), lambda c, _: Point(c))
    with pytest.raises(BadInput, match="returns a Point"):
        emit(replace(program, out_spec=pytree.tree_structure(Point([0, 0]))))
