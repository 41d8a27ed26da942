"""Gates that are not constants are refused, by the name of their layer.

Two kinds: *stochastic* ops, whose result differs between two runs, and *input-dependent* decisions:
a comparison of something computed from the input that then selects between two features. An
activation also compares (`where(x > 0, x, 0.1 * x)`), but it compares the very values it selects
from; a gate decides by other values than those it selects.
"""

from __future__ import annotations

import torch
from torch import fx

from igc.errors import Refused
from igc.graph import Program, args_of, layer_of

THRESHOLDS = frozenset({"gt", "ge", "lt", "le", "eq", "ne", "round", "sign", "heaviside"})
RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
PASSING = frozenset({  # element by element: what is compared or selected stays the same value
    "mul", "add", "sub", "rsub", "div", "neg", "relu", "clamp", "sigmoid", "tanh", "abs",
    "_to_copy", "logical_not", "logical_and", "logical_or", "bitwise_not", "bitwise_and",
    "unsqueeze", "squeeze", "expand", "reshape", "exp", "pow", "square", "hardtanh", "leaky_relu",
})  # fmt: skip


def refuse_open_questions(program: Program) -> None:
    """Raise `Refused` where a gate of the program is not a constant."""
    varies: set[fx.Node] = set()
    for node in program.graph.nodes:
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            _refuse_random(node, target)
        if node.op == "placeholder" or any(n in varies for n in node.all_input_nodes):
            varies.add(node)
    for node in program.graph.nodes:
        if node in varies and _op(node) in ("where", "mul", "lerp", "masked_fill"):
            _refuse_decision(node, varies)


def _refuse_random(node: fx.Node, target: torch._ops.OpOverload) -> None:
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return
    if _op(node) == "scaled_dot_product_attention" and not (
        len(node.args) > 4 and args_of(node)[4]
    ):
        return
    if _op(node) in ("dropout", "feature_dropout") and not args_of(node)[2]:
        return
    if _op(node) in RECURRENT and not (args_of(node)[5] and args_of(node)[6]):
        return  # (input, state, weights, biases, layers, dropout, train, ...)
    if _op(node) == "rrelu" and not (len(node.args) > 3 and args_of(node)[3]):
        return
    raise Refused(
        f"layer '{layer_of(node)}' is stochastic in evaluation mode ({target}): its gates are not "
        "constants; make the choice deterministic before compiling"
    )


def _op(node: fx.Node) -> str:
    return str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)


def _refuse_decision(node: fx.Node, varies: set[fx.Node]) -> None:
    """Refuse a selection decided by values that are not the ones selected."""
    operands = [n for n in node.all_input_nodes if n in varies]
    for mask in _masks(node, operands):
        decision = _decision(mask, varies)
        if decision is None:
            continue
        compared = _roots(decision, varies)
        selected = set().union(*(_roots(n, varies) for n in operands if n is not mask))
        if compared and selected and not compared & selected:
            raise Refused(
                f"layer '{layer_of(node)}': a gate depends on the input ({decision.target} decides "
                "per input which feature is read); only gates that are constant after training can "
                "be compiled"
            )


def _masks(node: fx.Node, operands: list[fx.Node]) -> list[fx.Node]:
    if _op(node) == "where":
        return [n for n in args_of(node)[:1] if n in operands]
    if _op(node) == "lerp":
        return [n for n in args_of(node)[2:3] if n in operands]
    if _op(node) == "masked_fill":
        return [n for n in args_of(node)[1:2] if n in operands]
    return operands


def _decision(node: fx.Node, varies: set[fx.Node]) -> fx.Node | None:
    """The comparison that a mask comes from, through casts and reshapes."""
    while node in varies and node.op == "call_function":
        op = _op(node)
        if op in THRESHOLDS:
            return node
        if op not in ("_to_copy", "logical_not", "bitwise_not", "rsub", "unsqueeze", "squeeze",
                      "expand", "reshape", "sub", "add"):  # fmt: skip
            return None
        inner = [n for n in node.all_input_nodes if n in varies]
        if op in ("sub", "add"):  # straight-through: hard - soft + soft
            inner = [n for n in inner if _decision(n, varies) is not None]
        if not inner:
            return None
        node = inner[0]
    return None


def _roots(node: fx.Node, varies: set[fx.Node]) -> set[fx.Node]:
    """The values that a node is an element-by-element function of, itself included."""
    found: set[fx.Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current in found or current not in varies:
            continue
        found.add(current)
        if _op(current) in PASSING or _op(current) in THRESHOLDS or _op(current) == "where":
            stack.extend(current.all_input_nodes)
    found.discard(node)
    return found or {node}
