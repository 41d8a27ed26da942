"""Every gate idiom in every architecture compiles to an equal network of the minimal size."""

from __future__ import annotations

import itertools

import pytest
import torch
from slowness import slow_but

from igc.testing import (
    ARCHITECTURES,
    Head,
    Node,
    Spec,
    architecture,
    assert_equal,
    assert_minimal,
    build,
    kernel_elements,
    needed_elements,
)
from igc.testing.foreign import foreign
from igc.testing.gating import IDIOMS, MIXES, PATTERNS
from igc.testing.judge import check, compile_double
from igc.testing.oracle import draw_inputs, needed_count
from igc.testing.spec import exact

RETURNS = ("tuple", "list", "dict", "nested")

_PAIRS = list(itertools.product(ARCHITECTURES, IDIOMS))


def _spec(name: str, idiom: str, i: int) -> Spec:
    """Mix, pattern, tasks and pytree go round while idioms and architectures are all paired.

    Every third einsum stays one: torch takes several times as long to export it.
    """
    mix = MIXES[(i + i // 8) % 4]
    return architecture(
        name, idiom=idiom, mix=mix if mix != "einsum" or i % 3 == 0 else "stack",
        pattern=PATTERNS[(3 * i + 2) % 8], tasks=(2, 3, 1, 2, 2)[i % 5],
        returns=RETURNS[(i + i // 4) % 4], seed=i,
    )  # fmt: skip


_ROUND = [_spec(name, idiom, i) for i, (name, idiom) in enumerate(_PAIRS)]


def _name(spec: Spec) -> str:
    return f"{spec.pattern}-{spec.mix}-T{spec.tasks}-{spec.returns}"


_NAMES = [
    f"{name}-{idiom}-{_name(spec)}" for (name, idiom), spec in zip(_PAIRS, _ROUND, strict=True)
]


def _two_layers(i: int, idiom: str) -> Spec:
    """The smallest network in which a gate's choice is mixed and read on."""
    layers = Node("linear", (0,), 5, gate=idiom, act="relu"), Node("linear", (1,), 4, gate=idiom)
    tasks, rest = 2 + i % 2, {"mix": MIXES[(i + 3) % 4], "pattern": PATTERNS[i % 8]}
    return Spec(layers, (Head("classify", (2,)),) * tasks, "vector", 3, **rest, seed=i)


@pytest.mark.slow
@pytest.mark.parametrize("idiom", IDIOMS)
def test_every_idiom_in_two_layers(idiom: str) -> None:
    """Mixes and patterns go round."""
    check(_two_layers(list(IDIOMS).index(idiom), idiom))


@pytest.mark.slow
@pytest.mark.parametrize("spec", _ROUND, ids=_NAMES)
def test_every_idiom_in_every_architecture(spec: Spec) -> None:
    check(spec)


_MIXED = list(itertools.product(MIXES, PATTERNS))


@pytest.mark.slow
@pytest.mark.parametrize("pair", _MIXED, ids=["-".join(p) for p in _MIXED])
def test_every_mix_with_every_pattern(pair: tuple[str, str]) -> None:
    mix, pattern = pair
    check(architecture("conv1d", mix=mix, pattern=pattern, idiom="where", seed=5))


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, 2, 3, 4, 8])
def test_one_to_eight_tasks(tasks: int) -> None:
    odd, even = ("transformer", "sub_mul", "mixed"), ("multi_scale", "lerp", "cut")
    name, idiom, pattern = odd if tasks % 2 else even
    check(architecture(name, tasks=tasks, idiom=idiom, pattern=pattern, seed=tasks))


@pytest.mark.slow
def test_eight_tasks_in_a_small_network() -> None:
    check(architecture("mlp", tasks=8, idiom="where", mix="einsum", pattern="mixed", seed=8))


@pytest.mark.slow
def test_all_idioms_give_the_same_size() -> None:
    sizes = set()
    for idiom in IDIOMS:
        net, inputs = build(architecture("conv1d", idiom=idiom, tasks=2, seed=9))
        sizes.add(kernel_elements(compile_double(net, inputs)))
    assert len(sizes) == 1


def test_all_closed_is_uniform_sharing() -> None:
    net, inputs = build(architecture("conv1d", tasks=2, pattern="closed"))
    static = compile_double(net, inputs)
    shared = sum(kernel_elements(n.shared) for n in net.nodes)
    assert kernel_elements(static) == shared + kernel_elements(net.heads)


def test_all_open_is_single_task_networks() -> None:
    net, inputs = build(architecture("conv1d", tasks=2, pattern="open"))
    static = compile_double(net, inputs)
    own = sum(kernel_elements(n.branches) for n in net.nodes)
    assert kernel_elements(static) == own + kernel_elements(net.heads)


FOREIGN = ("fused_transformer", "raw_weights", "masked_convs", "two_inputs")


@pytest.mark.parametrize("name", slow_but({"raw_weights", "masked_convs"}, FOREIGN))
def test_networks_in_other_hands(name: str) -> None:
    net, inputs = foreign()[name]
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    # A large batch, so that every row of an embedding is looked up.
    assert_minimal(net, static, lambda g: draw_inputs(inputs, g, batch=64))


@pytest.mark.parametrize(
    "name", slow_but({"conv1d"}, ("plain_cnn", "transformer", "mlp", "conv1d"))
)
def test_a_float32_network_stays_float32_and_agrees(name: str) -> None:
    import igc

    net, inputs = build(architecture(name, tasks=2, seed=4))
    static = igc.compile(net, inputs)
    assert all(p.dtype is torch.float32 for p in static.parameters())
    with torch.no_grad():
        want, have = net(*inputs), static(*inputs)
    for task, value in want.items():
        torch.testing.assert_close(have[task], value, rtol=2e-5, atol=2e-5)
    assert kernel_elements(static) == needed_count(needed_elements(net, inputs))


def test_the_source_network_is_left_alone() -> None:
    net, inputs = build(architecture("conv1d", idiom="straight_through"))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    static = compile_double(net, inputs)
    with torch.no_grad():
        for p in static.parameters():
            p.zero_()
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not net.training
    assert all(p.requires_grad for p in net.parameters())


def test_the_loose_networks_are_the_documented_ones() -> None:
    loose = {n for n in ARCHITECTURES if not exact(architecture(n))}
    assert loose == {"grouped", "group_norm"}
