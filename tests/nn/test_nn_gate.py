"""Gate: the strict threshold, one forward for both modes, the straight-through gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from igc.errors import BadInput
from igc.nn import Gate

SHAPES = [((2, 5), 1), ((2, 5, 7), 1), ((2, 5, 3, 4), 1), ((2, 7, 5), -1), ((2, 5, 2, 3, 2), 1)]


def random_gate(axis: int, dtype: torch.dtype = torch.float32) -> Gate:
    return Gate(5, axis, init=torch.randn(5)).to(dtype)


def along(vector: Tensor, like: Tensor, axis: int) -> Tensor:
    shape = [1] * like.dim()
    shape[axis] = -1
    return vector.view(shape)


def test_exactly_half_is_shared() -> None:
    gate = Gate(5, init=torch.tensor([0.0, -0.0, 1e-3, -1e-3, 30.0]))
    assert gate.mask.tolist() == [False, False, True, False, True]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_training_and_evaluation_agree_bit_for_bit(
    shape: tuple[int, ...], axis: int, dtype: torch.dtype
) -> None:
    gate = random_gate(axis, dtype)
    task = torch.randn(shape).to(dtype).requires_grad_()
    shared = torch.randn(shape).to(dtype).requires_grad_()
    trained = gate.train()(task, shared)
    evaluated = gate.eval()(task, shared)
    assert trained.requires_grad
    assert torch.equal(trained.detach(), evaluated.detach())
    expected = torch.where(along(gate.mask, task, axis).expand(shape), task, shared)
    assert torch.equal(evaluated, expected)


@pytest.mark.parametrize("mode", [True, False])
def test_what_a_gate_drops_leaves_no_trace(mode: bool) -> None:
    gate = Gate(2, init=torch.tensor([1.0, -1.0])).train(mode)
    poison, zero = torch.tensor([[1.0, torch.nan]]), torch.tensor([[-torch.inf, -0.0]])
    selected = gate(poison, zero)
    assert selected.tolist() == [[1.0, 0.0]]
    assert torch.signbit(selected[0, 1])


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_gradients_are_straight_through(shape: tuple[int, ...], axis: int) -> None:
    """Against the textbook form, hard + soft - soft.detach(), which is inexact only forward."""
    gate = random_gate(axis, torch.float64)
    task, shared, grad = (torch.randn(shape, dtype=torch.float64) for _ in range(3))
    inputs = [task.requires_grad_(), shared.requires_grad_(), gate.alpha]
    actual = torch.autograd.grad(gate(task, shared), inputs, grad)

    soft = torch.sigmoid(gate.alpha)
    switch = along((soft > 0.5).double() + soft - soft.detach(), task, axis)
    expected = torch.autograd.grad(switch * task + (1 - switch) * shared, inputs, grad)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-12, atol=1e-13)


def test_gradients_by_hand() -> None:
    gate = Gate(2, axis=-1, init=torch.tensor([2.0, -1.0])).double()
    task = torch.tensor([[3.0, 5.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    shared = torch.tensor([[1.0, 1.0], [4.0, 2.0]], dtype=torch.float64, requires_grad=True)
    gate(task, shared).backward(torch.tensor([[1.0, 10.0], [100.0, 1000.0]], dtype=torch.float64))
    assert task.grad is not None
    assert shared.grad is not None
    assert task.grad.tolist() == [[1, 0], [100, 0]]
    assert shared.grad.tolist() == [[0, 10], [0, 1000]]
    sigmoid = torch.sigmoid(torch.tensor([2.0, -1.0], dtype=torch.float64))
    slope = sigmoid * (1 - sigmoid)
    by_hand = slope * torch.tensor([1 * 2 + 100 * -3, 10 * 4 + 1000 * -1], dtype=torch.float64)
    torch.testing.assert_close(gate.alpha.grad, by_hand, rtol=1e-14, atol=0)


def test_gradients_have_gradients() -> None:
    gate = random_gate(1, torch.float64)
    task = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(gate(task, -task).pow(3).sum(), gate.alpha, create_graph=True)
    assert torch.autograd.grad(first.sum(), task)[0].abs().sum() > 0


def test_functional_transforms() -> None:
    gate = random_gate(1)
    task, shared = torch.randn(4, 2, 5, 3), torch.randn(4, 2, 5, 3)
    batched = torch.func.vmap(gate)(task, shared)
    assert torch.equal(
        batched, torch.stack([gate(t, s) for t, s in zip(task, shared, strict=True)])
    )

    def total(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(gate, parameters, (task[0], shared[0])).sum()

    gradient = torch.func.grad(total)(dict(gate.named_parameters()))["alpha"]
    gate(task[0], shared[0]).sum().backward()
    torch.testing.assert_close(gradient, gate.alpha.grad)


@pytest.mark.parametrize("mode", [True, False])
def test_fx_and_export(mode: bool) -> None:
    gate = random_gate(1).train(mode)
    inputs = (torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3))
    assert torch.equal(torch.fx.symbolic_trace(gate)(*inputs), gate(*inputs))
    if not mode:
        batch = torch.export.Dim("batch")
        program = torch.export.export(gate, inputs, dynamic_shapes=({0: batch}, {0: batch}))
        other = (torch.randn(5, 5, 3, 3), torch.randn(5, 5, 3, 3))
        assert torch.equal(program.module()(*other), gate(*other))
        ops = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
        assert "aten.where.self" in ops


@pytest.mark.parametrize(
    ("channels", "init"), [(0, 1.0), (3, torch.ones(2)), (3, torch.ones(3, 1)), (3, [1.0])]
)
def test_bad_channels_and_init(channels: int, init: float | Tensor) -> None:
    with pytest.raises(BadInput):
        Gate(channels, init=init)


def test_a_new_gate_is_open() -> None:
    assert Gate(3).mask.all()
    assert "3, axis=1, open=3" in repr(Gate(3))
