"""What a node calls and with which arguments, by name."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import fx

from igc.program.schema import argument, bind, changed, op_name, operation

aten = torch.ops.aten


def node(target: object, *args: object, **kwargs: object) -> fx.Node:
    graph = fx.Graph()
    x = graph.placeholder("x")
    return graph.call_function(target, (x, *args), kwargs)  # type: ignore[arg-type]  # any callable


def test_arguments_have_their_names_wherever_they_stand() -> None:
    for call in (node(aten.softmax.int, -1), node(aten.softmax.int, dim=-1)):
        assert argument(call, "dim") == -1
        assert argument(call, "dtype") is None
        assert bind(call) == {"self": call.args[0], "dim": -1, "dtype": None}
    assert argument(node(aten.cumsum.default, 1, dtype=torch.float64), "dtype") == torch.float64
    with pytest.raises(KeyError):
        argument(node(aten.relu.default), "dim")


def test_a_changed_call_fills_in_what_was_left_out() -> None:
    call = node(aten.conv2d.default, "w", stride=[2, 2])
    args, kwargs = changed(call, {"groups": 4})
    assert args == [call.args[0], "w", None, [2, 2], [0, 0], [1, 1], 4]
    assert kwargs == {}
    assert changed(node(aten.relu.default), {})[1] == {}
    assert changed(node(aten.sum.dim_IntList, [1], keepdim=True), {"keepdim": False})[1] == {
        "keepdim": False
    }
    assert changed(node(operator.getitem, 0), {})[0][1] == 0


def test_an_op_of_another_library_is_not_taken_for_its_namesake() -> None:
    library = torch.library.Library("igc_test_schema", "DEF")
    library.define("relu(Tensor x) -> Tensor")
    assert op_name(node(aten.relu.default)) == "relu"
    assert op_name(node(aten.relu_.default)) == "relu"
    assert op_name(node(aten.__and__.Tensor, 1)) == "__and__"
    assert op_name(node(torch.ops.igc_test_schema.relu.default)) == "igc_test_schema.relu.default"
    assert op_name(node(operator.getitem, 0)) == "getitem"
    assert op_name(node(aten.relu.default).all_input_nodes[0]) == ""
    assert operation(node(operator.mul, 2)) == "operator.mul"
