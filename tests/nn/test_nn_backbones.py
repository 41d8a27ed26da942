"""Backbones as people have them: wrapped, with keyword arguments, with paths for training alone."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_backbones import Residual, Two, assert_close, heads, trains_as_before
from torch import Tensor, nn
from torch.ao import quantization
from torch.optim.swa_utils import AveragedModel

import igc
from igc.errors import BadInput
from igc.nn import gate

X = torch.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


def compiled(module: nn.Module) -> nn.Module:
    wrapped: Any = torch.compile(module, backend="eager")
    return wrapped  # type: ignore[no-any-return]  # what torch.compile returns is untyped


class Plain(Two):
    def forward(self, x: Tensor, **options: object) -> Tensor:
        assert not options
        y: Tensor = self.b(self.a(x).relu())
        return y


class Parallel(nn.DataParallel[nn.Module]):
    """A network's own kind of DataParallel."""


WRAPPERS: list[Callable[[nn.Module], nn.Module]] = [
    *(nn.DataParallel, Parallel, AveragedModel, compiled),
    lambda network: compiled(nn.DataParallel(network)),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrapped_backbones_are_unwrapped(wrap: Callable[[nn.Module], nn.Module]) -> None:
    wrapped = wrap(Plain())
    net = gate(wrapped, heads("t"), at="layer")
    assert list(net.gates) == ["a", "b"]
    assert list(net.branches["t"].state_dict()) == list(Plain().state_dict())
    plain = Plain()
    for load in (net.load_shared, lambda state: net.load_single_task("t", state)):
        load(wrap(plain).state_dict())
    assert torch.equal(net.branches["t"].get_parameter("a.weight"), plain.a.weight)
    assert torch.equal(net.branches["shared"].get_parameter("b.bias"), plain.b.bias)


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled])
def test_wrapped_parts_are_looked_into_and_keep_their_keys(wrap: Any) -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = wrap(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))
            self.last = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.last(self.features(x))
            return y

    backbone = Parts()
    net = gate(backbone, heads("t"), at="layer")
    assert list(net.branches["t"].state_dict()) == list(backbone.state_dict())
    assert len(net.gates) == 2
    assert len(list(gate(backbone, heads("t"), at=["features"]).gates)) == 1


def test_a_module_that_was_compiled_in_place_is_taken() -> None:
    backbone = Plain()
    backbone.compile(backend="eager")
    assert len(trains_as_before(backbone)) == 4


def test_a_wrapper_with_hooks_is_refused() -> None:
    wrapped = nn.DataParallel(Plain())
    wrapped.register_forward_hook(lambda m, i, o: o * 2)
    with pytest.raises(BadInput, match="DataParallel, which has hooks"):
        gate(wrapped, heads("t"), at="layer")


@pytest.mark.filterwarnings("ignore")  # torch.jit.script is old
def test_compiled_functions_are_traced_as_written_and_scripted_ones_refused() -> None:
    assert len(trains_as_before(Calling(torch.compile(halved, backend="eager")))) == 4
    scripted = torch.jit.script(halved)

    class Scripted(Two):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(scripted(self.a(x)))
            return y

    for options in ({}, {"example_inputs": (X,)}):
        with pytest.raises(BadInput, match=r"test_nn_backbones.py:\d+ .*before torch\.jit\.script"):
            gate(Scripted(), heads("t"), at="layer", **options)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"cannot be copied .*scripted functions"):
        gate(Calling(scripted), heads("t"), at="layer")


class Calling(Two):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.function(self.a(x)))
        return y


def halved(x: Tensor) -> Tensor:
    return x / 2


def test_a_backbone_that_has_run_and_kept_its_features_is_taken() -> None:
    class Keeping(Two):
        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[str, list[Tensor]] = {}

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            self.kept["a"] = [x]
            y: Tensor = self.b(self.kept["a"][0]) + x
            return y

    assert len(trains_as_before(Keeping())) == 4


def test_keyword_arguments_that_nobody_named_are_left_out() -> None:
    class Keywords(Two):
        def forward(self, x: Tensor, *, scale: float = 2.0, **options: float) -> Tensor:
            y: Tensor = self.b(self.a(x)) * scale * options.get("more", 3.0)
            return y

    trains_as_before(Keywords())
    trains_as_before(Keywords(), example_inputs=(X.double(),))


class DropPath(Two):
    """A drop path as it is written where no module is at hand; p = 1 keeps nothing."""

    def __init__(self, inputs: int = 3, p: float = 0.5) -> None:
        super().__init__()
        self.a = nn.Conv2d(inputs, 4, 1)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y: Tensor = self.b(x.relu())
        if self.training and self.p > 0:
            keep = torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype) >= self.p
            y = y * keep / (1.001 - self.p)
        return x + y


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(DropPath(p=1.0), DropPath(4, p=0.0), DropPath(4, p=1.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return x * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None] if self.training else x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"example_inputs": (X.double(),)}])
def test_paths_of_training_that_have_the_same_gate_points(
    training: bool, options: dict[str, Any]
) -> None:
    trains_as_before(Blocks().train(training), **options)
    trains_as_before(Blocks().train(training), at="block", **options)
    net = gate(Blocks().double(), heads("t"), at="layer", **options)
    assert len(net.gates) == 6


def test_a_drop_path_draws_in_training_alone() -> None:
    net = gate(DropPath(), heads("t"), at="layer").double()
    x = X.double()
    before = net.eval()(x)["t"]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(net(x)["t"], before)
    assert torch.equal(torch.get_rng_state(), state)
    outputs = [net.train()(x)["t"] for _ in range(9)]
    assert not all(torch.equal(output, outputs[0]) for output in outputs)


@pytest.mark.slow
def test_a_network_with_two_graphs_is_an_ordinary_module() -> None:
    net = gate(Blocks(), {"t": nn.Flatten(), "u": nn.Flatten()}, at="block").eval()
    assert net.training_graph is not None
    assert gate(Plain(), heads("t"), at="layer").training_graph is None
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.fx.symbolic_trace(net)):
        assert torch.equal(twin(X)["t"], net(X)["t"])
    assert igc.verify(net, igc.compile(net, (X,)), (X,)).passed
    assert torch.equal(copy.deepcopy(net).train()(X)["u"], net.train()(X)["u"])
    assert not torch.equal(net.eval()(X)["t"], net.train()(X)["t"])


def test_tensors_made_in_both_modes_do_not_meet() -> None:
    class Made(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            if self.training:
                x = x * torch.full((4, 1, 1), 2.0) + torch.ones(4, 1, 1)
            else:
                x = x + torch.full((4, 1, 1), 5.0)
            y: Tensor = self.b(x)
            return y

    trains_as_before(Made().train())
    trains_as_before(Made().eval())


def test_other_gate_points_in_training_are_refused_or_kept_whole() -> None:
    class Auxiliary(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.b(x) + x if self.training else x  # type: ignore[no-any-return]  # Tensor

    class Within(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = Auxiliary(), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.last(self.inner(x))
            return y

    with pytest.raises(BadInput, match=r"different paths in training.*name layers in at="):
        gate(Auxiliary(), heads("t"), at="layer")
    assert list(gate(Auxiliary(), heads("t"), at=["a"]).gates) == ["a"]
    assert list(gate(Within(), heads("t"), at="layer").gates) == ["last"]
    trains_as_before(Within().train())


class Drawing(Two):
    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y: Tensor = self.b(x) if self.draw() < 2 else x
        return y


class Skipping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0 if self.training and random.random() < 0.5 else x


def test_random_numbers_drawn_by_python_are_not_kept_for_good() -> None:
    draws: list[Callable[[], float]] = [random.random, lambda: float(torch.rand(1))]
    for draw in draws:
        for options in ({}, {"example_inputs": (X,)}):
            with pytest.raises(BadInput, match=r"backbone's forward draws random.*rand_like"):
                gate(Drawing(draw), heads("t"), at="layer", **options)  # type: ignore[arg-type]

    class Whole(Two):
        def __init__(self) -> None:
            super().__init__()
            self.skip = Skipping()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(self.skip(self.a(x)))
            return y

    net = gate(Whole(), heads("t"), at="layer")
    random.seed(0)
    outputs = [net(X)["t"] for _ in range(9)]
    assert not all(torch.equal(output, outputs[0]) for output in outputs)


class Counter(nn.Module):
    def __init__(self, assigns: bool) -> None:
        super().__init__()
        self.assigns = assigns
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.assigns:
            self.count: Tensor = self.count + 1
        else:
            self.count[0] += 1
        return x * self.count


@pytest.mark.parametrize("assigns", [True, False])
def test_modules_that_change_their_buffers_stay_whole(assigns: bool) -> None:
    class Counting(Two):
        def __init__(self) -> None:
            super().__init__()
            self.counter = Counter(assigns)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(self.counter(self.a(x)))
            return y

    class Layered(Counter):
        def __init__(self) -> None:
            super().__init__(assigns)
            self.a = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.a(x))

    backbone = Counting().double()
    for options in ({}, {"example_inputs": (X.double(),)}):
        net = gate(backbone, heads("t"), at="layer", **options).double()  # type: ignore[arg-type]
        fresh = copy.deepcopy(backbone)
        for _ in range(3):
            assert_close(net(X.double())["t"], fresh(X.double()))
    with pytest.raises(BadInput, match=r"changes a buffer.*module of its own"):
        gate(Layered(), heads("t"), at="layer")


def prepared(for_training: bool) -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).train(for_training)
    kind = "get_default_qat_qconfig" if for_training else "get_default_qconfig"
    backbone.qconfig = getattr(quantization, kind)("fbgemm")
    prepare: Any = quantization.prepare_qat if for_training else quantization.prepare
    return prepare(backbone)  # type: ignore[no-any-return]  # untyped in torch


@pytest.mark.filterwarnings("ignore")
def test_modules_without_python_to_trace_are_refused_by_name() -> None:
    scripted = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 4, 1))
    traced = torch.jit.trace(Plain(), X)
    for backbone, message in (
        (scripted, r"module '0' is compiled by torch\.jit: gate the network as it was before"),
        (traced, r"the backbone is compiled by torch\.jit"),
        (prepared(True), r"module '0' \(Conv2d\) is made for quantisation.*torch\.ao"),
        (prepared(False), r"module '0\.activation_post_process' .*quantisation"),
    ):
        with pytest.raises(BadInput, match=message):
            gate(backbone, heads("t"), at="layer")


def test_stubs_for_quantisation_are_no_obstacle() -> None:
    class Quantisable(Two):
        def __init__(self) -> None:
            super().__init__()
            self.stub = quantization.QuantStub()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.add = torch.ao.nn.quantized.FloatFunctional()

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(self.stub(x))
            return self.add.add(x, self.b(x))

    assert len(trains_as_before(Quantisable())) == 4


def test_what_was_taken_before_has_the_same_keys() -> None:
    keys = list(gate(Residual(), heads("t")).state_dict())
    assert keys == list(gate(nn.DataParallel(Residual()), heads("t")).state_dict())
