"""ONNX for LSTM, GRU and plain recurrent layers, one node per layer with both of its directions.

ONNX orders the gates in another way than torch, and keeps the weights of both directions in one
tensor. They are put together by nodes, so that the tensors of the file are the network's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Unsupported
from igc.program.schema import bind


@dataclass(frozen=True)
class _Kind:
    """The ONNX operator, and for each of its gates the number of torch's."""

    name: str
    gates: tuple[int, ...]
    states: int = 1
    activation: str = ""


KINDS = {
    "lstm": _Kind("LSTM", (0, 3, 1, 2), states=2),  # input, output, forget, cell
    "gru": _Kind("GRU", (1, 0, 2)),  # update, reset, hidden
    "rnn_tanh": _Kind("RNN", (0,), activation="Tanh"),
    "rnn_relu": _Kind("RNN", (0,), activation="Relu"),
}


def _recurrent(kind: _Kind) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> Lowered:
        args = bind(node)
        x, states = args["input"], args["hx"]
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        directions = 2 if args["bidirectional"] else 1
        if at.rank(x) != 3 or (args["train"] and args["dropout"]):
            raise Unsupported("a recurrence over a single sequence, or with dropout")
        per = 4 if args["has_biases"] else 2
        params = list(args["params"])
        if len(params) != per * directions * args["num_layers"]:
            raise Unsupported("a recurrence with projections")
        hidden = at.fact(params[1]).dims[1]
        value = at(x)
        if args["batch_first"]:
            value = at.op("Transpose", value, perm=[1, 0, 2])
        last: list[list[str]] = [[] for _ in states]
        for layer in range(args["num_layers"]):
            first = layer * directions
            own = [params[per * (first + d) : per * (first + d + 1)] for d in range(directions)]
            starts = [_lines(at, at(s), first, first + directions) for s in states]
            value, ends = _layer(at, kind, value, own, starts, hidden, directions)
            for found, end in zip(last, ends, strict=True):
                found.append(end)
        if args["batch_first"]:
            value = at.op("Transpose", value, perm=[1, 0, 2])
        joined = [f[0] if len(f) == 1 else at.op("Concat", *f, axis=0) for f in last]
        return (value, *joined)

    return rule


def _layer(
    at: Lowering, kind: _Kind, value: str, own: list[list[fx.Node]], starts: list[str],
    hidden: int, directions: int,
) -> tuple[str, list[str]]:  # fmt: skip
    """One layer over [steps, batch, features]: the same with directions x hidden features, ends."""
    weights = [_stacked(at, kind, [p[i] for p in own], hidden) for i in (0, 1)]
    bias = None
    if len(own[0]) == 4:
        halves = [_stacked(at, kind, [p[i] for p in own], hidden) for i in (2, 3)]
        bias = at.op("Concat", *halves, axis=1)
    found = at.graph.ops(
        kind.name, value, *weights, bias, None, *starts, count=1 + kind.states,
        hidden_size=hidden, direction="bidirectional" if directions == 2 else None,
        activations=[kind.activation] * directions if kind.activation else None,
        linear_before_reset=1 if kind.name == "GRU" else None,
    )  # fmt: skip
    by_batch = at.op("Transpose", found[0], perm=[0, 2, 1, 3])  # [steps, batch, directions, hidden]
    merged = at.graph.integers([0, 0, directions * hidden], "shape")
    return at.op("Reshape", by_batch, merged), list(found[1:])


def _stacked(at: Lowering, kind: _Kind, tensors: list[fx.Node], hidden: int) -> str:
    """[directions, gates x hidden, ...] of one tensor per direction, gates in ONNX's order."""
    lead = at.graph.integers([0], "axes")
    made = []
    for tensor in tensors:
        name = at(tensor)
        if len(kind.gates) > 1:
            parts = [_lines(at, name, g * hidden, (g + 1) * hidden) for g in kind.gates]
            name = at.op("Concat", *parts, axis=0)
        made.append(at.op("Unsqueeze", name, lead))
    return made[0] if len(made) == 1 else at.op("Concat", *made, axis=0)


def _lines(at: Lowering, value: str, start: int, end: int) -> str:
    bounds = [at.graph.integers([n]) for n in (start, end)]
    return at.op("Slice", value, *bounds, at.graph.integers([0], "axes"))


RULES: dict[str, Rule] = {name: _recurrent(kind) for name, kind in KINDS.items()}
