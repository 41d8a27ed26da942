"""Backward passes that are written by hand, regions, checkpoints and hooks: gradients as before."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_backbones import Two, heads, trains_as_before
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import igc
from igc.errors import BadInput
from igc.nn import gate

X = torch.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
EXAMPLES: list[dict[str, Any]] = [{}, {"example_inputs": (X.double(),)}]


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


class RoundThrough(Reverse):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class SignTimes(torch.autograd.Function):
    """Two outputs, a weight and a number; the newer form with setup_context."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, k: float) -> tuple[Tensor, Tensor]:
        return x * weight.sign(), x + k

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        return 3 * grads[1] - grads[0], (grads[0] * x).sum(0) * weight.abs(), None


sign_times = SignTimes.apply  # as networks keep it


class Applying(Two):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.function(self.a(x)))
        return y


class WithWeight(Two):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        signed, shifted = sign_times(self.a(x), self.weight, 2.0)
        y: Tensor = self.b(signed) + shifted
        return y


class Binary(Two):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.a(x), RoundThrough.apply(self.b.weight * 9), self.b.bias, padding=1)


@pytest.mark.parametrize("options", EXAMPLES)
def test_autograd_functions_keep_their_backward(options: dict[str, Any]) -> None:
    for backbone in (Applying(Reverse.apply), Applying(RoundThrough.apply), WithWeight()):
        trained = trains_as_before(backbone, **options)
        assert len(trained) == len(list(backbone.parameters()))


def test_a_weight_that_a_function_makes_is_trained_through_it() -> None:
    trains_as_before(Binary(), example_inputs=(X.double(),))


@pytest.mark.slow
@pytest.mark.parametrize("function", [Reverse, RoundThrough])
def test_a_gated_function_copies_pickles_compiles_and_is_traced_again(function: Any) -> None:
    net = gate(Applying(function.apply), {"t": nn.Flatten()}, at="layer").eval()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.fx.symbolic_trace(net)):
        assert torch.equal(twin(X)["t"], net(X)["t"])
        twin(X)["t"].sum().backward()
    assert igc.verify(net, igc.compile(net, (X,)), (X,)).passed


def test_a_function_that_writes_on_its_input_is_refused() -> None:
    class Doubling(Reverse):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.mark_dirty(x)
            return x.mul_(2)

    with pytest.raises(BadInput, match=r"Doubling.*mark_dirty"):
        gate(Applying(Doubling.apply), heads("a"), at="layer")


def test_apply_is_itself_again_after_tracing() -> None:
    gate(Applying(Reverse.apply), heads("a"), at="layer")
    assert "apply" not in vars(torch.autograd.function._SingleLevelFunction)


class Frozen(Two):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.a(x).relu()
        y: Tensor = self.b(x)
        return y


class FrozenByDecorator(Two):
    @torch.no_grad()
    def first(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.first(x)) * 2
        return y + self.b(x.detach() if x.shape[1] == 4 else self.first(x)).data


class FrozenInTraining(Two):
    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.training):
            x = self.a(x)
        y: Tensor = self.b(x)
        return y


class Normalised(Two):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y: Tensor = self.b(x / (x.detach().abs().mean((2, 3), keepdim=True) + 1))
        return y


@pytest.mark.parametrize("options", EXAMPLES)
def test_no_grad_and_detach_stop_the_same_gradients(options: dict[str, Any]) -> None:
    assert trains_as_before(Frozen(), **options) == ["b.weight", "b.bias"]
    assert len(trains_as_before(Normalised(), **options)) == 4
    assert trains_as_before(FrozenInTraining().train(), **options) == ["b.weight", "b.bias"]
    assert len(trains_as_before(FrozenInTraining().eval(), **options)) == 4
    trains_as_before(FrozenByDecorator(), example_inputs=(X.double(),))


class Mixed(Two):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.a(x)
            with torch.autocast("cpu", enabled=False):
                z = self.b(y.to(x.dtype))
        return torch.cat([y.to(x.dtype), z], 1)


@pytest.mark.parametrize("options", [{}, {"example_inputs": (X,)}])
def test_autocast_is_entered_where_it_was(options: dict[str, Any]) -> None:
    """The first convolution in bfloat16, the second not: also where the caller has autocast on."""
    backbone = Mixed().eval()
    net = gate(backbone, heads("t"), at="layer", **options).eval()
    assert torch.equal(net(X)["t"], backbone(X))
    assert not torch.allclose(net(X)["t"][:, :4], backbone.a(X), atol=1e-5, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(X)["t"], backbone(X))


@pytest.mark.parametrize("kind", [Frozen, FrozenInTraining, Mixed])
def test_regions_are_kept_by_copies(kind: type[nn.Module]) -> None:
    net = gate(kind(), {"t": nn.Flatten()}, at="layer").eval()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.fx.symbolic_trace(net)):
        assert torch.equal(twin(X)["t"], net(X)["t"])
    if kind is not Mixed:
        assert igc.verify(net, igc.compile(net, (X,)), (X,)).passed


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("options", EXAMPLES)
def test_checkpoints(reentrant: bool, options: dict[str, Any]) -> None:
    class Twice(Two):
        def forward(self, x: Tensor) -> Tensor:
            def inner(y: Tensor) -> Tensor:
                z: Tensor = self.b(y).relu()
                return z

            x = self.a(x)
            y: Tensor = checkpoint(inner, x, use_reentrant=reentrant) * x
            return y

    class InSequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint_sequential(self.parts, 2, x, use_reentrant=False)

    assert len(trains_as_before(Twice(), **options)) == 4
    assert len(trains_as_before(InSequence(), **options)) == 4


@pytest.mark.parametrize("options", EXAMPLES)
def test_tensor_hooks_stand_on_the_value_as_it_was(options: dict[str, Any]) -> None:
    class Hooking(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            before = x * 2
            if x.requires_grad:
                x.register_hook(lambda grad: grad * 3)
            x.mul_(2)
            x.register_hook(lambda grad: -grad)
            if self.training:
                x.register_hook(lambda grad: grad.clamp(-1, 1))
            y: Tensor = self.b(x) + before
            return y

    assert len(trains_as_before(Hooking().train(), **options)) == 4
    assert len(trains_as_before(Hooking().eval(), **options)) == 4
    with torch.no_grad():
        gate(Hooking().double(), heads("t"), at="layer", **options).double()(X.double())


def test_tensor_hooks_that_read_the_network_are_refused() -> None:
    class ReadsSelf(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x.register_hook(lambda grad: grad * self.b.weight.mean())
            y: Tensor = self.b(x)
            return y

    class KeepsHandle(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            handle = x.register_hook(torch.neg)
            y: Tensor = self.b(x)
            handle.remove()
            return y

    for backbone in (ReadsSelf(), KeepsHandle()):
        with pytest.raises(BadInput, match=r"register.*torch\.autograd\.Function"):
            gate(backbone, heads("t"), at="layer")


def test_requires_grad_is_answered() -> None:
    class Asking(Two):
        def forward(self, x: Tensor) -> Tensor:
            if not x.requires_grad:
                x.requires_grad_()
            x = self.a(x)
            assert not x.detach().requires_grad
            assert not x.data.requires_grad
            y: Tensor = self.b(x) if x.requires_grad else x
            return y

    for options in EXAMPLES:
        assert len(trains_as_before(Asking(), **options)) == 4


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = Applying(torch.sin), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.inner(x))
        return y


def scaled(module: nn.Module, inputs: tuple[Tensor], output: Tensor | None = None) -> Any:
    return inputs[0] * 2 if output is None else output.sin()


@pytest.mark.parametrize("options", EXAMPLES)
def test_module_hooks(options: dict[str, Any]) -> None:
    """On the backbone, on a module that is traced through and on one that is kept whole."""
    backbone = Nested()
    for module in (backbone, backbone.inner, backbone.inner.a):
        module.register_forward_pre_hook(scaled)
        module.register_forward_hook(scaled)
    backbone.last.register_full_backward_hook(lambda m, grads, _: (grads[0] * 5,))
    backbone.last.register_full_backward_pre_hook(lambda m, grads: (-grads[0],))
    assert len(trains_as_before(backbone, **options)) == 6


def test_hooks_on_weights_are_on_every_branch() -> None:
    backbone = Nested()
    mask = torch.rand(4, 3, 3, 3).double()
    backbone.inner.a.weight.register_hook(lambda grad: grad * mask)
    trains_as_before(backbone)


def refused(put: Callable[[Nested], object], message: str) -> None:
    backbone = Nested()
    put(backbone)
    with pytest.raises(BadInput, match=message) as caught:
        gate(backbone, heads("t"), at="layer")
    assert "\n" not in str(caught.value)


def ignore(*_: object) -> None:
    pass


def test_hooks_that_cannot_be_kept_are_refused() -> None:
    refused(lambda net: net.register_full_backward_hook(ignore), "the backbone has a backward hook")
    refused(lambda net: net.inner.register_full_backward_hook(ignore), "'inner' has a backward")
    refused(lambda net: net.inner.register_full_backward_pre_hook(ignore), r"handle\.remove\(\)")
    refused(
        lambda net: net.last.register_forward_hook(lambda m, i, o: o * net.inner.a.weight.mean()),
        "hook on module 'last' reads `net`",
    )
    refused(
        lambda net: net.last.register_forward_hook(functools.partial(ignore, net.inner.a.weight)),
        "hook on module 'last' reads `args`",
    )
    refused(
        lambda net: net.last.weight.register_hook(lambda grad: grad * net.last.bias.mean()),
        r"parameter 'last\.weight'.*reads `net`",
    )
    refused(
        lambda net: net.last.weight.register_post_accumulate_grad_hook(ignore),
        r"parameter 'last\.weight'.*gated network's parameters",
    )


def test_what_is_changed_through_detach_or_data_is_refused() -> None:
    class ThroughData(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x.data.mul_(2)
            y: Tensor = self.b(x)
            return y

    for options in EXAMPLES:
        with pytest.raises(BadInput, match="through `detach`"):
            gate(ThroughData().double(), heads("t"), at="layer", **options)
