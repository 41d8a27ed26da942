"""Gates that are not constants are refused, by the name of their layer.

Two kinds: *stochastic* ops, whose result differs between two runs, and *input-dependent* decisions:
a comparison of something computed from the input that then selects between two features. An
activation also compares (`where(x > 0, x, 0.1 * x)`), but it compares the very values it selects
from; a gate decides by other values than those it selects.
"""

from __future__ import annotations

import torch
from torch import fx

from igc.errors import BadInput, Refused
from igc.program import Program
from igc.program.decisions import thresholds
from igc.program.nodes import args_of, call_of, layer_of
from igc.program.schema import argument, op_name

#: The arguments that all have to be on for an op to draw random numbers.
SWITCHES = {
    "scaled_dot_product_attention": ("dropout_p",), "rrelu": ("training",),
    **dict.fromkeys(("dropout", "feature_dropout"), ("train",)),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), ("dropout", "train")),
}  # fmt: skip
#: The argument of a selection that decides.
MASKS = {"where": "condition", "masked_fill": "mask", "lerp": "weight"}
PASSING = frozenset({  # element by element: what is compared or selected stays the same value
    "mul", "add", "sub", "rsub", "div", "neg", "relu", "clamp", "sigmoid", "tanh", "abs",
    "_to_copy", "logical_not", "logical_and", "logical_or", "bitwise_not", "bitwise_and",
    "unsqueeze", "squeeze", "expand", "reshape", "exp", "pow", "square", "hardtanh", "leaky_relu",
})  # fmt: skip


#: Ops after which a mask is the same one: in another shape or type, or a part of it.
MOVING = frozenset({
    "_to_copy", "unsqueeze", "squeeze", "expand", "reshape", "permute", "slice", "select",
    "index_select", "repeat", "flip", "roll",
})  # fmt: skip
LARGEST = frozenset({"argmax", "argmin", "argsort"})
PLACES = frozenset({"max", "min", "topk", "sort"})  # their second output tells where values are
THROUGH = PASSING | LARGEST | PLACES | {"where"}


def refuse_open_questions(program: Program) -> None:
    """Raise `Refused` where a gate of the program is not a constant."""
    varies: set[fx.Node] = set()
    for node in program.graph.nodes:
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            _refuse_random(node, target)
        if node.op == "placeholder" or any(n in varies for n in node.all_input_nodes):
            varies.add(node)
    _refuse_nan(program, varies)
    _refuse_decisions(program, varies)


def _refuse_nan(program: Program, varies: set[fx.Node]) -> None:
    """Refuse a threshold of a constant that is not a number: neither open nor closed."""
    for node in program.graph.nodes:
        if node in varies or node.op != "call_function" or not thresholds(node):
            continue
        stack = list(node.all_input_nodes)
        while stack:
            operand = stack.pop()
            stack.extend(operand.all_input_nodes)
            if operand.op == "get_attr":
                value = program.constants[str(operand.target)]
                if value.dtype.is_floating_point and bool(torch.isnan(value).any()):
                    raise BadInput(
                        f"layer '{layer_of(node)}': its gate '{operand.target}' is NaN, neither "
                        "open nor closed; train it again"
                    )


def _refuse_random(node: fx.Node, target: torch._ops.OpOverload) -> None:
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return
    switches = SWITCHES.get(op_name(node))
    if switches is not None and not all(argument(node, name) for name in switches):
        return
    raise Refused(
        f"layer '{layer_of(node)}' is stochastic in evaluation mode ({target}): its gates are not "
        "constants; make the choice deterministic before compiling"
    )


def _refuse_decisions(program: Program, varies: set[fx.Node]) -> None:
    """Refuse a selection between two features that other values of the input decide."""
    picked: dict[fx.Node, dict[bool, list[fx.Node]]] = {}
    for node in program.graph.nodes:
        if node not in varies or node.op != "call_function":
            continue
        for mask, features in _selections(node):
            if mask not in varies:
                continue
            decision, straight = _decision(mask, varies)
            both = [f for f in features if f in varies and f is not mask]
            if decision is None or not both:
                continue
            if len(both) == 2 or op_name(both[0]) == "sub":
                _refuse_unless_own(node, decision, both, varies)
            seen = picked.setdefault(decision, {})
            seen.setdefault(straight, []).extend(both)
            other = [f for f in seen.get(not straight, []) if f not in both]
            if other:
                _refuse_unless_own(node, decision, [*both, *other], varies)


def _selections(node: fx.Node) -> list[tuple[fx.Node, list[fx.Node]]]:
    """The masks of a node, each with the features it lets through."""
    args = [a for a in args_of(node) if isinstance(a, fx.Node)]
    op = op_name(node)
    if op in MASKS and len(args) >= 2:
        mask = argument(node, MASKS[op])
        return [(mask, [a for a in args if a is not mask])] if isinstance(mask, fx.Node) else []
    if op == "mul" and len(args) == 2:
        return [(args[0], [args[1]]), (args[1], [args[0]])]
    return []


def _refuse_unless_own(
    node: fx.Node, decision: fx.Node, features: list[fx.Node], varies: set[fx.Node]
) -> None:
    compared = _roots(decision, varies)
    if compared & set().union(*(_roots(f, varies) for f in features)):
        return  # an activation: it decides by the very values it selects from
    raise Refused(
        f"layer '{layer_of(node)}': a gate depends on the input ({decision.target} decides "
        "per input which feature is read); only gates that are constant after training can "
        "be compiled"
    )


def _decision(node: fx.Node, varies: set[fx.Node]) -> tuple[fx.Node | None, bool]:
    """The comparison that a mask comes from, and whether the mask is it or its complement."""
    straight = True
    while node in varies and node.op == "call_function":
        op = op_name(node)
        if _decides(node):
            return call_of(node), straight
        if op in ("logical_not", "bitwise_not", "rsub"):
            straight = not straight
        elif op not in MOVING | {"sub", "add"}:
            return None, straight
        inner = [n for n in node.all_input_nodes if n in varies]
        if op in ("sub", "add"):  # straight-through: hard - soft + soft
            inner = [n for n in inner if _decision(n, varies)[0] is not None]
            if op == "sub" and args_of(node)[:1] != (*inner[:1],):
                straight = not straight  # 1 - g
        if not inner:
            return None, straight
        node = inner[0]
    return None, straight


def _decides(node: fx.Node) -> bool:
    """Whether the op is a comparison or a step, or tells which of several values is the largest."""
    call = call_of(node)
    if call is not node:
        return op_name(call) in PLACES and args_of(node)[1] == 1
    return thresholds(node) or op_name(node) in LARGEST


def _roots(node: fx.Node, varies: set[fx.Node]) -> set[fx.Node]:
    """The values that a node is an element-by-element function of, itself included."""
    found: set[fx.Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current in found or current not in varies:
            continue
        found.add(current)
        if op_name(current) in THROUGH or thresholds(current):
            stack.extend(current.all_input_nodes)
    found.discard(node)
    return found or {node}
