"""What an ONNX file may hold that no number of runs would show: it is named instead.

igc writes none of it. Recurrent layers are single nodes of their own (LSTM, GRU, RNN).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from igc.errors import show

CONTROL = ("If", "Loop", "Scan", "SequenceMap")
STOCHASTIC = ("Bernoulli", "Multinomial")  # and all whose names begin so:
RANDOM = "Random"
SHOWN = 10  # findings


def findings(model: onnx.ModelProto) -> list[str]:
    """One line for each op that draws random numbers, branches or loops, and local function."""
    graph = model.graph
    inference = {t.name for t in graph.initializer if _is_false(t)}
    nodes = [*graph.node, *(node for function in model.functions for node in function.node)]
    found = [line for node in _all(nodes) if (line := _finding(node, inference))]
    found += [
        f"the file defines a function of its own, {show(f'{f.domain}.{f.name}')}; igc writes none"
        for f in model.functions
    ]
    found = list(dict.fromkeys(found))
    more = len(found) - SHOWN
    return found if more <= 0 else [*found[:SHOWN], f"{more} findings more of these kinds"]


def _finding(node: onnx.NodeProto, inference: set[str]) -> str:
    what = f"the file holds {show(node.op_type)} (node {show(node.name or node.output[0])})"
    drops = "Dropout" in node.op_type and len(node.input) > 2 and node.input[2]
    if (
        node.op_type.startswith(RANDOM)
        or node.op_type in STOCHASTIC
        or (drops and drops not in inference)
    ):
        return f"{what}: it draws random numbers, so that runs do not tell what it computes"
    if node.op_type in CONTROL:
        return f"{what}: which nodes run depends on values, so that runs may never see them"
    return ""


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of all graphs within them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _all(graph.node)


def _is_false(tensor: onnx.TensorProto) -> bool:
    """Whether it is the truth value false, as ops take it for their mode."""
    return tensor.data_type == onnx.TensorProto.BOOL and not (
        any(tensor.raw_data) or any(tensor.int32_data)
    )
