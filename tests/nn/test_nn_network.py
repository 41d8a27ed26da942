"""The gated network as an ordinary module: copies, names, loading, optimisers, DDP, export."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.distributed as dist
from compiled import compiled
from slowness import slow_but
from tiny_backbones import (
    Pyramid,
    Residual,
    TinyViT,
    heads,
    scrambled,
    tensors_in,
    unused_parameters,
)
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import igc
from igc.errors import BadInput
from igc.nn import GatedNetwork, gate

X = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


def residual(at: str = "block", tasks: str = "ab") -> GatedNetwork:
    return gate(Residual(), {task: nn.Linear(6, 2) for task in tasks}, at=at)


def same_outputs(a: nn.Module, b: nn.Module, x: Tensor = X) -> bool:
    one, other = a(x), b(x)
    return list(one) == list(other) and all(torch.equal(one[task], other[task]) for task in one)


@pytest.mark.parametrize("at", ["block", "layer"])
def test_copies_are_equal_and_independent(at: str) -> None:
    net = residual(at).eval()
    pickled = pickle.loads(pickle.dumps(net))
    for twin in (copy.deepcopy(net), pickled):
        assert isinstance(twin, GatedNetwork)
        assert twin.tasks == net.tasks
        assert same_outputs(twin, net)
        before = net(X)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1)
        assert not same_outputs(twin, net)
        assert all(torch.equal(net(X)[task], before[task]) for task in before)


def test_state_dict_round_trip() -> None:
    net, other = scrambled(residual()), scrambled(residual())
    assert not same_outputs(net, other, X.double())
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert same_outputs(net, other, X.double())


def test_state_dict_keys() -> None:
    keys = list(residual("layer").state_dict())
    for key in (
        "branches.shared.layer1.0.conv1.weight",
        "branches.b.layer2.0.bn2.running_var",
        "gates.layer1_0_conv1.a.alpha",
        "mixes.layer1_0_conv1.beta",
        "heads.a.weight",
    ):
        assert key in keys
    assert "mixes.layer2_0_conv2.beta" not in keys


def test_train_and_eval_reach_every_part_and_agree_without_batch_norm() -> None:
    net = gate(TinyViT(), heads("ab"), at="layer")
    for gates in net.gates.values():
        for each in gates.values():
            nn.init.normal_(each.alpha)
    assert net.training
    trained = net(X)
    assert not any(module.training for module in net.eval().modules())
    for task, output in net(X).items():
        assert torch.equal(output, trained[task])


def test_the_backbone_is_left_alone() -> None:
    backbone = Residual().eval()
    before = copy.deepcopy(backbone.state_dict())
    inplace = backbone.layer1[0].relu.inplace
    net = gate(backbone, heads("ab"))
    unused_parameters(net, X)
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    assert not backbone.training
    assert backbone.layer1[0].relu.inplace is inplace is True


NETWORKS = {
    "residual, block": lambda: gate(Residual(), heads("abc")),
    "residual, layer": lambda: gate(Residual(), heads("abc"), at="layer"),
    "residual, first block": lambda: gate(Residual(), heads("abc"), at=["layer1"]),
    "pyramid": lambda: gate(Pyramid(), heads("abc"), at="layer"),
    "transformer": lambda: gate(TinyViT(), heads("abc"), at="layer"),
    "one task": lambda: gate(Residual(), heads("a"), at="layer"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_backward_reaches_every_parameter(name: str) -> None:
    assert unused_parameters(NETWORKS[name](), X) == []


@pytest.fixture
def process_group(tmp_path: object) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel_trains() -> None:
    """DDP raises in the second pass when a parameter was left out of the first."""
    net = residual("layer")
    parallel = DistributedDataParallel(net)
    optimiser = torch.optim.SGD(net.weight_parameters(), lr=0.1)
    for _ in range(2):
        sum(output.square().mean() for output in parallel(X).values()).backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize(
    "name", slow_but({"pyramid"}, ["residual, layer", "pyramid", "transformer"])
)
def test_export_with_dynamic_batch(name: str) -> None:
    net = NETWORKS[name]()
    for gates in net.gates.values():
        for each in gates.values():
            nn.init.normal_(each.alpha)
    net.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (X,), dynamic_shapes=({0: batch},))
    more = torch.randn(5, 3, 8, 8)
    for a, b in zip(tensors_in(program.module()(more)), tensors_in(net(more)), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(tensors_in(torch.fx.symbolic_trace(net)(more))[0], tensors_in(net(more))[0])


def test_optimisers_share_the_parameters() -> None:
    net = residual("layer")
    gates = {id(p) for p in net.gate_parameters()}
    weights = {id(p) for p in net.weight_parameters()}
    assert not gates & weights
    assert gates | weights == {id(p) for p in net.parameters()}
    names = {n.rsplit(".", 1)[1] for n, p in net.named_parameters() if id(p) in gates}
    assert names == {"alpha", "beta"}


def test_training_moves_gates_and_weights() -> None:
    net = gate(Residual(), {task: nn.Linear(6, 1) for task in "ab"}, at="layer", init=0.05)
    weights = torch.optim.Adam(net.weight_parameters(), lr=0.01)
    gates = torch.optim.SGD(net.gate_parameters(), lr=0.5)
    target = X.mean((1, 2, 3), keepdim=False)[:, None]
    losses = []
    for _ in range(12):
        outputs = net(X)
        loss = (outputs["a"] - target).square().mean() + (outputs["b"] + target).square().mean()
        losses.append(float(loss.detach()))
        for optimiser in (weights, gates):
            optimiser.zero_grad()
        loss.backward()
        for optimiser in (weights, gates):
            optimiser.step()
    assert losses[-1] < 0.5 * losses[0]
    alphas = torch.cat([g.alpha.detach() for layer in net.gates.values() for g in layer.values()])
    assert alphas.std() > 0


def test_other_devices_and_dtypes() -> None:
    net = residual("layer").eval()
    assert {p.device.type for p in copy.deepcopy(net).to("meta").parameters()} == {"meta"}
    assert net.double()(X.double())["a"].dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_gates_and_mixes_have_the_type_of_the_backbone(dtype: torch.dtype) -> None:
    """A float32 mix would hand float32 features to layers that do not take them."""
    given = {task: nn.Linear(6, 2, dtype=dtype) for task in "ab"}
    net = gate(Residual().to(dtype), given, at="layer")
    assert {p.dtype for p in net.parameters()} == {dtype}
    for mode in (net.train(), net.eval()):
        assert mode(X.to(dtype))["a"].dtype == dtype
    onward = gate(Residual().to("meta"), {"a": nn.Linear(6, 2, device="meta")}, at="layer")
    assert {p.device.type for p in onward.parameters()} == {"meta"}


ODD = ["depth map", "a.b", "a_b", "train", "class", "深度", "half", "keys", "2d", "_", "-", "Ω"]


def test_odd_names() -> None:
    net = gate(Residual(), {task: nn.Linear(6, 2) for task in ODD}, at="layer").eval()
    assert net.tasks == tuple(ODD)
    assert list(net(X)) == ODD
    assert list(net.gates["layer1.0.conv1"]) == ODD
    assert net.gates["layer1.0.conv1"] is net.gates["layer1_0_conv1"]
    keys = [key for key in net.state_dict() if key.startswith("heads.") and key.endswith("bias")]
    assert [key.split(".")[1] for key in keys] == [
        *("depth_map", "a_b", "a_b_2", "train_", "class_", "u6df1u5ea6", "half_", "keys_", "2d"),
        *("_", "__2", "u03a9"),
    ]
    for task in ODD:
        assert torch.equal(
            net.heads[task].weight, net.heads.get_submodule(net.heads._key_of[task]).weight
        )
        net.load_single_task(task, Residual().state_dict())
    assert same_outputs(pickle.loads(pickle.dumps(net)), net)
    with pytest.raises(KeyError):
        net.gates["layer9"]
    assert "layer1.0.conv1" in net.gates
    assert len(net.gates) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "at least one task"),
        ([nn.Linear(6, 2)], "at least one task"),
        ({"": nn.Linear(6, 2)}, "non-empty string"),
        ({"  ": nn.Linear(6, 2)}, "non-empty string"),
        ({3: nn.Linear(6, 2)}, "non-empty string"),
        ({"shared": nn.Linear(6, 2)}, "shared branch"),
        ({"a": None}, "head of task 'a'"),
    ],
)
def test_bad_heads(given: dict[str, nn.Module], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        gate(Residual(), given)


def test_a_backbone_that_is_no_module() -> None:
    with pytest.raises(BadInput, match=r"nn\.Module, not function"):
        gate(lambda x: x, heads("ab"))  # type: ignore[arg-type]


class SingleTask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = Residual(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def test_load_single_task_and_shared() -> None:
    net = residual("layer").eval()
    single, bare, other = SingleTask().eval(), Residual().eval(), Residual().eval()
    net.load_single_task("a", single.state_dict())
    net.load_single_task("b", bare.state_dict())
    net.load_shared(other.state_dict())
    outputs = net(X)  # all gates are open
    torch.testing.assert_close(outputs["a"], single(X))
    torch.testing.assert_close(outputs["b"], net.heads["b"](bare(X)))
    for gates in net.gates.values():
        for each in gates.values():
            nn.init.constant_(each.alpha, -1.0)
    torch.testing.assert_close(net(X)["a"], single.head(other(X)))


def test_load_takes_the_weights_that_a_branch_does_not_use() -> None:
    net = gate(Residual(), heads("ab"), at=["layer1"])
    net.load_shared(Residual().state_dict())  # layer2 is each task's own
    assert not any(name.startswith("layer2") for name, _ in net.branches["shared"].named_modules())


def test_what_does_not_fit_is_listed_and_nothing_is_loaded() -> None:
    net = residual("layer")
    before = copy.deepcopy(net.state_dict())
    state = SingleTask().state_dict()
    del state["backbone.stem.bias"]
    state["backbone.layer1.0.conv1.weight"] = torch.zeros(5, 4, 3, 3)
    state["backbone.fc.weight"] = torch.zeros(2)
    state["head.extra"] = torch.zeros(1)
    with pytest.raises(BadInput) as caught:
        net.load_single_task("b", state)
    message = str(caught.value)
    assert "\n" not in message
    assert "branch of task 'b'" in message
    assert "1 missing: stem.bias" in message
    assert "2 unexpected: fc.weight, head.extra" in message
    assert "1 mis-shaped: layer1.0.conv1.weight (5, 4, 3, 3) instead of (4, 4, 3, 3)" in message
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"missing: .* and 18 more"),
        ([], "expected a state_dict, got list"),
        ({"stem.weight": 3}, "mis-shaped: stem.weight int instead of"),
        (SingleTask().state_dict(), "2 unexpected: head.weight, head.bias"),
    ],
)
def test_bad_states_for_the_shared_branch(state: dict[str, Tensor], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        residual().load_shared(state)


def test_unknown_task() -> None:
    with pytest.raises(BadInput, match="unknown task 'c': this network has a, b"):
        residual().load_single_task("c", {})


def test_code_and_traceback_show_the_generated_lines() -> None:
    net = residual()
    assert "self.gates.layer1_0.a(" in net.code
    with pytest.raises(RuntimeError) as caught:
        net(torch.zeros(1, 2, 8, 8))
    assert any("branches.shared.stem" in str(entry) for entry in caught.traceback)


class Normed(nn.Module):
    """A convolution whose weight is computed before each forward and kept, by hooks."""

    def __init__(self, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.first = norm(nn.Conv2d(3, 4, 3, padding=1))
        self.last = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.first(x).relu()).mean((2, 3))
        return y


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "norm", slow_but([nn.utils.weight_norm], [nn.utils.weight_norm, nn.utils.spectral_norm])
)
def test_weights_computed_by_hooks_are_copied(norm: Callable[[nn.Module], nn.Module]) -> None:
    backbone = Normed(norm).eval()
    before = backbone(X)
    net = gate(backbone, {task: nn.Linear(6, 2) for task in "ab"}, at=["first"]).eval()
    assert torch.equal(backbone(X), before)
    static = compiled(net, (X,)).static
    assert igc.verify(net, static, (X,)).passed
    net.train()(X)["a"].sum().backward()
    assert (
        net.branches["a"]
        .get_parameter("first.weight_g" if norm is nn.utils.weight_norm else "first.weight_orig")
        .grad
        is not None
    )
