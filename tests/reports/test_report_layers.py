"""Every figure stands under a layer of the network, also where no module called the op."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from report_nets import Gated, picture
from torch import Tensor, fx, nn

import igc
from igc.analysis.cost import Cost, NodeCost, cost
from igc.analysis.layers import layers, owner, with_layers
from igc.capture import capture
from igc.models.heads import LinearHead
from igc.program import Program
from igc.reports.build import _opaque


class Joined(nn.Module):
    """Two convolutions joined and activated by no module: their mix ends up behind the join."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.left(x), self.right(x)], 1).relu())


@pytest.fixture(scope="module")
def joined() -> igc.nn.GatedNetwork:
    torch.manual_seed(0)
    heads = {"seg": LinearHead(4, 2), "depth": LinearHead(4, 1)}
    net = igc.gate(Joined(), heads=heads, at="layer")
    with torch.no_grad():
        for by_task in net.gates.values():
            for gate in by_task.values():
                gate.alpha.copy_(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    return net.eval()


@pytest.mark.slow
def test_every_row_is_a_layer(joined: igc.nn.GatedNetwork, tmp_path: Path) -> None:
    modules = dict(joined.named_modules())
    static = igc.compile(joined, picture())
    assert any("coefficient" in name for name in static.to_program().constants)
    made = igc.report(joined, static, references=False)
    rows = made.to_dict()["layers"]
    assert [r["layer"] for r in rows if r["layer"] not in modules] == []
    assert {r["layer"]: r["static"]["params"] for r in rows}["mixes.left"] > 0
    for column in ("gated", "static"):
        for what in ("macs", "params"):
            total = made.to_dict()["columns"][column][what]
            assert sum(r[column][what] for r in rows) == total
    assert all(any(r[c][w] for c in ("gated", "static") for w in ("macs", "params")) for r in rows)
    assert len(rows) < len({n.layer for n in cost(static.to_program()).nodes} | set(modules))
    static.save(tmp_path / "static.pt")  # nodes keep the layers that modules called, not the rest
    again = igc.report(tmp_path / "static.pt")
    assert [r["layer"] for r in again.to_dict()["layers"] if r["layer"] not in modules] == []
    assert again.cost.params == made.cost.params


def test_ops_of_no_module_belong_to_what_they_read_or_work_on() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    first = graph.call_function(torch.ops.aten.relu.default, (x,))
    scaled = graph.call_function(
        torch.ops.aten.mul.Tensor, (first, graph.get_attr("block.scale~1"))
    )
    last = graph.call_function(torch.ops.aten.relu.default, (scaled,))
    given = graph.call_function(torch.ops.aten.relu.default, (last,))
    given.meta["layer"] = "head"
    graph.output([given])
    like = capture(Gated({"seg": [0], "depth": [1]}).eval(), picture())
    program = Program(graph, {}, (), ("y",), like.out_spec, {}, torch.float32)
    found = layers(program)
    assert [found[n] for n in (first, scaled, last, given)] == ["", "block", "block", "head"]
    told = with_layers(program)
    nodes = {n.name: n for n in told.graph.nodes}
    assert [nodes[n.name].meta.get("near") for n in (first, scaled, last, given)] == [
        None, "block", "block", "head",
    ]  # fmt: skip
    assert "layer" not in nodes[last.name].meta
    assert not first.meta and not last.meta  # nothing is written on what was given
    assert with_layers(told) is told
    assert owner("a.b.weight~2") == "a.b"
    assert owner("weight") == ""


@pytest.mark.parametrize("called", ["bmm_1", "block"])
def test_an_opaque_op_of_no_module_is_found_by_its_own_name(called: str) -> None:
    """Remarks name such an op, its cost stands under the layer it belongs to."""
    node = NodeCost("bmm_1", "aten.bmm.default", "block", 7, ("y",))
    whole = Cost(((1, 3),), ("y",), (node,), (), None)
    row = {"layer": called, "op": "aten.bmm.default", "reason": ""}
    assert _opaque(row, whole)["macs"] == 7
    assert _opaque({**row, "layer": "other"}, whole)["macs"] == 0
