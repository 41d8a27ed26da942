"""Two torch networks: agreeing ones pass, and every way of breaking one is caught."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx, nn
from verify_nets import TASKS, Gated, Pair, inputs

from igc.capture import capture
from igc.errors import BadInput, Refused
from igc.program import Program
from igc.verification import diverge, verify
from igc.verification.torch_side import TorchSide

Constants = dict[str, Tensor]


def changed(program: Program, change: Callable[[Constants], None]) -> Program:
    """The program with copies of its constants, after `change` has worked on them."""
    constants = {name: value.clone() for name, value in program.constants.items()}
    change(constants)
    return replace(program, constants=constants)


def rewired(
    program: Program,
    values: Sequence[int] = (0, 1),
    names: Sequence[str] = TASKS,
    then: Callable[[fx.Graph, fx.Node], fx.Node] = lambda graph, node: node,
    only: Sequence[int] = (0, 1),
) -> Program:
    """The program whose output i, called `names[i]`, is the old output `values[i]`.

    `then` adds a node behind the outputs whose numbers are in `only`.
    """
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        if node.op != "output":
            env[node] = graph.node_copy(node, env.__getitem__)
    found = [env[program.output_nodes[v]] for v in values]
    graph.output([then(graph, n) if i in only else n for i, n in enumerate(found)])
    return replace(program, graph=graph, outputs=tuple(names))


def calls(target: object, *rest: object) -> Callable[[fx.Graph, fx.Node], fx.Node]:
    return lambda graph, node: graph.call_function(target, (node, *rest))


aten = torch.ops.aten


def test_agree(nets: Pair) -> None:
    check = verify(nets.gated, nets.sliced, inputs())
    assert check.passed
    assert bool(check)
    assert list(check.outputs) == list(TASKS)
    legs = [leg for out in check.outputs.values() for leg in out.legs]
    assert {leg.way for leg in legs} == {"float64 in torch", "float32 in torch"}
    exact = [leg for leg in legs if "64" in leg.way]
    assert all(leg.max_abs <= leg.bound <= 1.1e-10 * leg.scale for leg in exact)


def test_a_check_as_data_is_plain_and_repeatable(nets: Pair) -> None:
    one, two = (verify(nets.reference, nets.candidate) for _ in range(2))
    assert one.passed
    assert json.dumps(one.to_dict(), allow_nan=False) == json.dumps(two.to_dict())
    assert "agree" in str(one)
    for word in ("max abs", "max rel", "bound", *TASKS):
        assert word in str(one)


def test_two_batches_two_image_sizes_and_a_large_scale(nets: Pair) -> None:
    check = verify(nets.reference, nets.candidate)
    seen = [leg.inputs for leg in check.outputs["seg"].legs if "64" in leg.way]
    assert seen == ["random 2x3x8x8", "random 1x3x8x8 times 30", "random 1x3x9x11"]


def swap_rows(c: Constants) -> None:
    c["own.seg.weight"].copy_(c["own.seg.weight"][[1, 0, 2]])


def wrong_beta(c: Constants) -> None:
    c["beta"].copy_(c["beta"].flip(1))


def drop_bias(c: Constants) -> None:
    c["own.depth.bias"].zero_()


def scale(c: Constants) -> None:
    for task in TASKS:
        c[f"heads.{task}.weight"].mul_(1.01)
        c[f"heads.{task}.bias"].mul_(1.01)


def swap_heads(c: Constants) -> None:
    for kind in ("weight", "bias"):
        one, two = (f"heads.{task}.{kind}" for task in TASKS)
        c[one], c[two] = c[two], c[one]


def nudge(c: Constants) -> None:
    c["psi.weight"][0, 0, 0, 0] += 1e-6


def permute_index(c: Constants) -> None:
    c["index_seg"].copy_(c["index_seg"].flip(0))


@pytest.mark.parametrize(
    "break_it", [swap_rows, wrong_beta, drop_bias, scale, swap_heads, nudge, permute_index]
)
def test_broken_networks_fail(nets: Pair, break_it: Callable[[Constants], None]) -> None:
    check = verify(nets.reference, changed(nets.candidate, break_it))
    assert not check.passed
    assert "DIFFER" in str(check)
    assert check.failures


def test_a_millionth_is_seen_by_the_float64_leg_alone(nets: Pair) -> None:
    check = verify(nets.reference, changed(nets.candidate, nudge))
    legs = [leg for out in check.outputs.values() for leg in out.legs]
    assert {leg.way for leg in legs if not leg.passed} == {"float64 in torch"}


def test_swapped_values_are_named(nets: Pair) -> None:
    check = verify(nets.reference, rewired(nets.candidate, values=(1, 0)))
    assert not check.passed
    assert any("'seg' holds the values of the reference's 'depth'" in f for f in check.failures)


def test_order_of_outputs_is_part_of_the_contract(nets: Pair) -> None:
    check = verify(nets.reference, rewired(nets.candidate, (1, 0), ("depth", "seg")))
    assert not check.passed
    assert any(f.startswith("output order") for f in check.failures)


def test_swapped_names_fail_though_values_are_in_place(nets: Pair) -> None:
    check = verify(nets.reference, rewired(nets.candidate, names=("depth", "seg")))
    assert all(out.passed for out in check.outputs.values())
    assert not check.passed


def test_names_of_outputs_are_part_of_the_contract(nets: Pair) -> None:
    check = verify(nets.reference, rewired(nets.candidate, names=("seg", "normals")))
    assert not check.passed
    assert any(f.startswith("output names") and "normals" in f for f in check.failures)


def test_equal_argmax_is_not_enough(nets: Pair) -> None:
    shifted = rewired(nets.candidate, then=calls(aten.add.Tensor, 0.001))
    assert not verify(nets.reference, shifted).passed
    labels = [rewired(p, then=calls(aten.argmax.default, 1)) for p in (nets.reference, shifted)]
    assert verify(*labels).passed


def test_shapes_and_types_count(nets: Pair) -> None:
    cut = rewired(nets.candidate, then=calls(aten.slice.Tensor, 1, 0, 2), only=(0,))
    check = verify(nets.reference, cut)
    assert not check.passed
    assert any("shape [2, 2] instead of [2, 3]" in f for f in check.failures)
    labels = rewired(nets.candidate, then=calls(aten.argmax.default, 1, True), only=(0,))
    reference = rewired(nets.reference, then=calls(aten.slice.Tensor, 1, 0, 1), only=(0,))
    assert any("torch.int64" in f for f in verify(reference, labels).failures)


def test_integer_outputs_must_be_equal(nets: Pair) -> None:
    to_label = calls(aten.argmax.default, 1)
    reference = rewired(nets.reference, then=to_label)
    assert verify(reference, rewired(nets.candidate, then=to_label)).passed
    wrong = rewired(
        nets.candidate,
        then=lambda g, n: g.call_function(aten.argmin.default, (n, 1)),
    )
    check = verify(reference, wrong)
    assert not check.passed
    assert check.outputs["seg"].max_abs >= 1


def test_only_some_tasks(nets: Pair) -> None:
    one = rewired(nets.candidate, (1,), ("depth",))
    assert verify(nets.reference, one, tasks=["depth"]).passed
    check = verify(nets.reference, one)
    assert not check.passed
    assert check.outputs["depth"].passed
    assert any(f.startswith("output names") for f in check.failures)
    with pytest.raises(BadInput, match="normals"):
        verify(nets.reference, one, tasks=["normals"])


class Poisoned(Gated):
    """A dropped branch yields infinity; written as a product, the gate passes it on as NaN."""

    def features(self, x: Tensor) -> dict[str, Tensor]:
        found = {}
        shared = torch.relu(self.psi(x))
        for t in TASKS:
            g = (torch.sigmoid(self.gates["one"][t].alpha) > 0.5).float().view(1, -1, 1, 1)
            own = torch.relu(self.own[t](x)) / g
            found[t] = g * own + (1 - g) * shared
        return found


def test_zero_times_infinity_is_said_not_hidden(nets: Pair) -> None:
    check = verify(Poisoned().eval(), nets.candidate)
    assert not check.passed
    assert "0 * inf is NaN" in str(check)
    assert "not comparable" in str(check)


def test_a_candidate_that_overflows_fails(nets: Pair) -> None:
    broken = rewired(nets.candidate, then=calls(aten.div.Tensor, 0.0), only=(0,))
    check = verify(nets.reference, broken)
    assert any("candidate is NaN or infinite" in f for f in check.failures)


def test_a_candidate_that_does_not_run_fails(nets: Pair) -> None:
    narrow = rewired(nets.candidate, then=calls(aten.reshape.default, [2, 3]))
    check = verify(nets.reference, narrow)
    assert not check.passed
    assert any("does not run" in f and "1x3x8x8" in f for f in check.failures)


class Noisy(nn.Module):
    """Outputs that differ from run to run."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {t: x.mean((2, 3)) + torch.randn(()) for t in TASKS}


@pytest.mark.slow
def test_stochastic_reference_is_refused(nets: Pair) -> None:
    before = torch.get_rng_state()
    with pytest.raises(Refused, match="stochastic"):
        verify(Noisy(), nets.candidate)
    assert torch.equal(before, torch.get_rng_state())


def test_networks_are_left_as_they_were(nets: Pair) -> None:
    gated, sliced = copy.deepcopy(nets.gated).train(), copy.deepcopy(nets.sliced).train()
    sliced.heads.eval()
    states = [copy.deepcopy(n.state_dict()) for n in (gated, sliced)]
    assert verify(gated, sliced, inputs()).passed
    assert gated.training
    assert sliced.training
    assert not sliced.heads.training
    for net, state in zip((gated, sliced), states, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


def test_first_difference_names_the_layer(nets: Pair) -> None:
    def shift(c: Constants) -> None:
        c["two.bias"][0] += 0.1

    check = verify(nets.reference, changed(nets.reference, shift))
    assert check.first_difference is not None
    assert check.first_difference.startswith("two ")
    assert "first layer that diverges: two" in str(check)


def test_first_difference_looks_at_the_kept_channels(nets64: Pair) -> None:
    from igc.compiler import compile_program

    static, _ = compile_program(nets64.reference)
    x = [inputs(dtype=torch.float64)]
    assert diverge.first_difference(nets64.reference, static, x) is None

    def scale_own(c: Constants) -> None:
        for name in c:
            if name.startswith("own.depth"):
                c[name].mul_(1.01)

    found = diverge.first_difference(nets64.reference, changed(static, scale_own), x)
    assert found is not None
    assert found.startswith("own.depth")


def test_values_are_compared_in_portions(nets: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def shift(c: Constants) -> None:
        c["heads.depth.bias"][0] += 0.1

    other = changed(nets.reference, shift)
    whole = verify(nets.reference, other).first_difference
    assert whole is not None
    monkeypatch.setattr(diverge, "BUDGET", 1)
    assert verify(nets.reference, other).first_difference == whole


def test_all_inputs_of_a_double_network_are_taken_in_its_type() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            z: Tensor = self.a(x) + self.b(y)
            return z

    net, given = Sum().double().eval(), (torch.randn(2, 3), torch.randn(2, 4))
    assert verify(net, net, given).passed


def test_a_module_that_its_capture_misses_is_not_compared_by_a_wide_bound() -> None:
    """The bound comes from how far the module is from its graph: if that is wrong, all would do."""

    class Shifting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (2.0 if float(x.detach().abs().max()) > 20 else 1.0)  # not seen at 1

    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 1.0

    side = TorchSide("reference", capture(Blind(), torch.randn(2, 3)), Shifting(), captured=True)
    side.double([torch.ones(2, 3)])
    with pytest.raises(BadInput, match="was not captured as it is: on inputs of shape 2x3, output"):
        side.double([torch.full((2, 3), 30.0)])
