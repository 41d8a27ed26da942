"""Which layers feed a gather: what a pruning tool that does not know gathers must not touch."""

from __future__ import annotations

from torch import fx

from igc.emit.torch.plan import Plan
from igc.program.schema import operation

GATHERS = frozenset({"aten.index_select.default", "aten.index.Tensor"})
CHANNEL_MAKERS = ("Conv", "Linear", "Embedding")


def gathered(plan: Plan) -> list[str]:
    """Names of the layers whose output channels reach a gather, in the order of the graph.

    The way back from a gather ends at the layers that make new channels (convolutions, linear
    layers, embeddings); norms on the way are gathered from too.
    """
    seen: set[fx.Node] = set()
    stack = [
        source
        for node in plan.program.graph.nodes
        if node.op == "call_function" and operation(node) in GATHERS
        for source in node.all_input_nodes[:1]
    ]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        name = plan.calls.get(node)
        if name is None or not plan.layers[name].kind.startswith(CHANNEL_MAKERS):
            stack.extend(node.all_input_nodes)
    found = (name for node, name in plan.calls.items() if node in seen)
    return list(dict.fromkeys(found))
