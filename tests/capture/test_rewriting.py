"""What a rewrite is given: arguments by name, operands old and new, one way to decline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from call_programs import LAYER, everything, program
from torch import fx

from igc.capture.rewrites.context import Rewriting
from igc.program import Program
from igc.program.nodes import copy_node
from igc.program.shapes import shapes

aten = torch.ops.aten
X = torch.randn(2, 6, 4)


def at_the_call(made: Program) -> Rewriting:
    """The last call of a program, about to be rewritten: all before it has been copied."""
    graph, env = fx.Graph(), {}
    *before, call, _ = made.graph.nodes
    for node in before:
        env[node] = copy_node(graph, node, env.__getitem__)
    return Rewriting(graph, call, env, shapes(made))


def at_one(target: Any, *args: Any, **kwargs: Any) -> Rewriting:
    return at_the_call(program(lambda call, x: call(target, x, *args, **kwargs), X))


def test_arguments_have_the_names_of_the_schema_and_its_defaults() -> None:
    at = at_one(aten.slice.Tensor, 1, end=4)
    assert at["self"] is at.node.args[0] and at["dim"] == 1 and at["end"] == 4
    assert at["start"] is None and at["step"] == 1
    assert at.keywords("end", "step") == {"end": 4}
    assert at_one(aten.glu.default)["dim"] == -1
    assert at_one(aten.glu.default, dim=1)["dim"] == 1
    with pytest.raises(KeyError):
        at["axis"]


def test_operands_are_of_either_graph() -> None:
    at = at_one(aten.glu.default, 1)
    old = at["self"]
    negative = at(aten.neg.default, old)
    both = at(aten.cat.default, [old, negative], 1)
    assert list(both.args[0]) == [at.now(old), negative] and both.args[1] == 1
    assert at.now(old) is not old and at.now(negative) is negative and at.now(3) == 3
    assert list(old.users) == [at.node]  # the graph before does not know of the new calls
    assert {n.graph for n in both.all_input_nodes} == {at.graph}
    assert both.meta == {"layer": LAYER}


def test_what_stands_for_a_node_may_be_a_number() -> None:
    made = program(
        lambda call, x: call(aten.expand.default, x, [call(aten.sym_size.int, x, 0), 6, 4]), X
    )
    at = at_the_call(made)
    size = at["size"][0]
    at = Rewriting(at.graph, at.node, {**at.env, size: 2}, at.facts)
    assert at(aten.new_zeros.default, at["self"], at["size"]).args[1] == [2, 6, 4]


def test_a_call_that_is_kept_is_as_it_was_and_says_why() -> None:
    made = program(lambda call, x: call(aten.glu.default, x, dim=1), X)
    before, at = everything(made), at_the_call(made)
    new = at.kept("it was not asked for")
    assert new.graph is at.graph and new.target is at.node.target
    assert new.args == (at.now(at["self"]),) and new.kwargs == {"dim": 1}
    assert (new.name, new.meta) == (at.node.name, at.node.meta)
    assert at.declined == [f"layer '{LAYER}': aten.glu.default is kept: it was not asked for"]
    assert everything(made) == before


def test_shapes_are_those_of_the_program_before() -> None:
    at = at_one(aten.glu.default, -2)
    x = at["self"]
    assert (at.dims(x), at.rank(x), at.dtype(x)) == ((2, 6, 4), 3, torch.float32)
    assert at.dims(at.node) == (2, 3, 4)
    assert at.axis(x, at["dim"]) == 1
    assert at.slice(x, 1, 0, 3).args == (at.now(x), 1, 0, 3, 1)
    assert [n.args for n in at.sizes(x)] == [(at.now(x), axis) for axis in range(3)]
    number = at_the_call(
        program(lambda call, x: call(aten.neg.default, call(aten.sum.default, x)), X)
    )
    assert number.axis(number["self"], -1) == 0
