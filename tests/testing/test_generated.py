"""Random gated networks compile equal and minimal: 100 or more, two more in a quick run.

On failure the spec is printed as source (paste it into REGRESSIONS) along with the blob that makes
Hypothesis repeat its choice. IGC_HYPOTHESIS_PROFILE=fuzz draws ten times as many.
"""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings

from igc.testing import Head, Node, Spec, build, check, strategies

PER_TEST = max(25, settings().max_examples // 4)

generated = settings(
    max_examples=PER_TEST,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

specs = partial(strategies.specs, wide=False)  # the soak (`make fuzz`) draws from more

REGRESSIONS: tuple[Spec, ...] = ()

NAMES = {"Spec": Spec, "Node": Node, "Head": Head}


@settings(generated, max_examples=2)
@given(specs(loose=False, max_nodes=1, max_tasks=2))
def test_a_few_networks(spec: Spec) -> None:
    check(spec)


@pytest.mark.slow
@generated
@given(specs(["image"], max_nodes=2, max_tasks=4))
def test_image_networks(spec: Spec) -> None:
    check(spec)


@pytest.mark.slow
@generated
@given(specs(["tokens"], max_nodes=2, max_tasks=3))
def test_token_networks(spec: Spec) -> None:
    check(spec)


@pytest.mark.slow
@generated
@given(specs(["vector", "signal"], max_nodes=3))
def test_vector_and_signal_networks(spec: Spec) -> None:
    check(spec)


@pytest.mark.slow
@generated
@given(specs(loose=False, max_nodes=2, max_tasks=4))
def test_networks_whose_minimum_is_known(spec: Spec) -> None:
    check(spec)


@pytest.mark.parametrize("spec", REGRESSIONS, ids=range(len(REGRESSIONS)))
def test_regression(spec: Spec) -> None:
    check(spec)


@given(specs())
def test_a_printed_spec_builds_the_same_network(spec: Spec) -> None:
    again = eval(repr(spec), dict(NAMES))
    assert again == spec
    first, second = build(spec)[0].state_dict(), build(again)[0].state_dict()
    assert first.keys() == second.keys()
    assert all(first[k].equal(second[k]) for k in first)
