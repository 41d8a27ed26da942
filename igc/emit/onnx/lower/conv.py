"""ONNX for convolutions."""

from __future__ import annotations

from typing import Any

from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported, per_axis
from igc.program.schema import bind


def _groups(args: dict[str, Any]) -> int:
    groups = args["groups"]
    if not isinstance(groups, int):
        raise Unsupported("as many groups as the input says")
    return groups


def _conv(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    weight, value = args["weight"], args["input"]
    axes = at.rank(weight) - 2
    if at.rank(value) != axes + 2:
        raise Unsupported("a convolution without a batch")
    attributes: dict[str, Any] = {}
    if isinstance(args["padding"], str):
        # torch pads "same" as ONNX's SAME_UPPER does only where the total is even
        kernel, dilation = at.fact(weight).dims[2:], per_axis(args["dilation"], axes)
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        same = args["padding"] == "same"
        attributes["pads"] = (
            [t // 2 for t in total] + [t - t // 2 for t in total] if same else [0] * 2 * axes
        )
    else:
        attributes["pads"] = per_axis(args["padding"], axes) * 2
    return at.op(
        "Conv",
        at(value),
        at(weight),
        at.optional(args["bias"]),
        strides=per_axis(args["stride"], axes),
        dilations=per_axis(args["dilation"], axes),
        group=_groups(args),
        kernel_shape=at.fact(weight).dims[2:],
        **attributes,
    )


def _conv_transpose(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    weight, value = args["weight"], args["input"]
    axes = at.rank(weight) - 2
    if at.rank(value) != axes + 2:
        raise Unsupported("a convolution without a batch")
    return at.op(
        "ConvTranspose",
        at(value),
        at(weight),
        at.optional(args["bias"]),
        strides=per_axis(args["stride"], axes),
        pads=per_axis(args["padding"], axes) * 2,
        output_padding=per_axis(args["output_padding"], axes),
        dilations=per_axis(args["dilation"], axes),
        group=_groups(args),
        kernel_shape=at.fact(weight).dims[2:],
    )


RULES: dict[str, Rule] = {
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    "_convolution_mode": _conv,
    **{f"conv_transpose{n}d": _conv_transpose for n in (1, 2, 3)},
}
