"""Activations: functions of one number that a network puts behind its layers."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.pointwise import pointwise
from igc.ops.relations import Follow, Pointwise

PLAIN = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish",
    "hardsigmoid", "hardtanh", "softplus", "sigmoid", "tanh", "log_sigmoid", "hardshrink",
    "softshrink", "threshold",
)  # fmt: skip


def prelu(node: fx.Node, facts: Facts) -> Pointwise:
    """prelu(x, weight): the weight is per channel (axis 1) or a single number."""
    x, weight, out = operand(node, "self"), operand(node, "weight"), facts.shape(node)
    per_channel = facts.shape(weight) != (1,) and len(out) > 1
    slope = Follow(weight, (1 if per_channel else None,))
    return Pointwise((facts.follow(x, out), slope), survives="any")


RULES: dict[str, Rule] = {
    **{f"aten.{name}.default": pointwise for name in PLAIN},
    "aten.prelu.default": prelu,
}
