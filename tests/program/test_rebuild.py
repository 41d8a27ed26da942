"""A new program, node by node: what stands for what, what goes, and nothing written on the old."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from igc.capture import capture
from igc.program import Program
from igc.program.execute import execute
from igc.program.nodes import call_like
from igc.program.rebuild import Env, rebuild, with_arguments, with_outputs

aten = torch.ops.aten


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(3, 2)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"a": self.one(x).relu() + torch.zeros(4), "b": self.two(y)}


X, Y = torch.randn(2, 3), torch.randn(2, 3)


def given() -> Program:
    return capture(Two().eval(), (X, Y))


def calls(program: Program) -> list[Any]:
    return [n.target for n in program.graph.nodes if n.op == "call_function"]


def written(program: Program) -> list[Any]:
    """All of the program that could be written on."""
    nodes = [(n.name, n.target, n.args, n.kwargs, dict(n.meta), list(n.users))
             for n in program.graph.nodes]  # fmt: skip
    return [id(program.graph), nodes, list(program.constants), program.outputs]


def test_none_stands_for_a_copy() -> None:
    program = given()
    before = written(program)
    new = rebuild(program, lambda graph, node, env: None)
    assert new.graph is not program.graph and str(new.graph) == str(program.graph)
    assert [n.meta for n in new.graph.nodes] == [n.meta for n in program.graph.nodes]
    assert new.constants == program.constants and new.inputs == program.inputs
    assert written(program) == before


def test_what_is_made_stands_for_the_node_and_what_is_unread_goes() -> None:
    program = given()

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> Any:
        if node.target is not aten.linear.default or node.args[1].target != "two.weight":
            return None
        return call_like(graph, node, aten.neg.default, env[node.args[0]])

    new = rebuild(program, make)
    assert "two.weight" not in new.constants and "one.weight" in new.constants
    a, b = execute(new, [X, Y])
    assert torch.equal(b, -Y) and torch.equal(a, execute(program, [X, Y])[0])
    kept = rebuild(program, make, keep_unread=True)
    assert "two.weight" in kept.constants


def test_inputs_stay_unread() -> None:
    new = with_outputs(given(), ["a"], pytree.tree_structure({"a": 0}))
    cut = rebuild(new, lambda graph, node, env: None)
    assert len(cut.placeholders) == len(cut.inputs) == 2
    assert "two.weight" not in cut.constants


def test_numbers_may_stand_for_nodes() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    size = graph.call_function(aten.sym_size.int, (x, 1))
    twice = graph.call_function(operator.mul, (size, 2))
    graph.output([graph.call_function(aten.mul.Tensor, (x, twice))])
    program = given()
    program = Program(graph, {}, program.inputs[:1], ("a",), pytree.tree_structure(0), {},
                      torch.float32)  # fmt: skip
    new = rebuild(program, lambda graph, node, env: 0 if node is size else None)
    assert torch.equal(execute(new, [X])[0], 0 * X) and calls(new) == [
        operator.mul,
        aten.mul.Tensor,
    ]


def test_constants_and_order_may_be_others() -> None:
    program = given()
    zeros = {name: torch.zeros_like(v) for name, v in program.constants.items()}
    new = rebuild(program, lambda graph, node, env: None, {**zeros, "unused": X})
    assert set(new.constants) == set(program.constants)
    assert not execute(new, [X, Y])[0].any()
    order = [n for n in program.graph.nodes if n.op != "call_function" and n.op != "output"]
    order += [n for n in program.graph.nodes if n.op == "call_function" or n.op == "output"]
    moved = rebuild(program, lambda graph, node, env: None, order=order)
    assert [n.name for n in moved.graph.nodes] == [n.name for n in order]


def test_every_plain_argument_is_changed_and_no_node() -> None:
    program = given()
    before, seen = written(program), []

    def change(value: Any) -> Any:
        seen.append(value)
        return torch.float64 if value is torch.float32 else value

    new = with_arguments(program, change)
    (zeros,) = (n for n in new.graph.nodes if n.target is aten.zeros.default)
    assert zeros.kwargs["dtype"] is torch.float64 and zeros.args == ([4],)
    assert 4 in seen and not [v for v in seen if isinstance(v, fx.Node)]
    assert written(program) == before


def test_outputs_that_are_left_out_leave_their_constants() -> None:
    program = given()
    before = written(program)
    spec = pytree.tree_structure({"b": 0})
    new = with_outputs(program, ["b"], spec)
    assert new.outputs == ("b",) and new.out_spec == spec
    assert torch.equal(execute(new, [X, Y])[0], execute(program, [X, Y])[1])
    assert set(new.constants) == set(program.constants)
    assert written(program) == before
