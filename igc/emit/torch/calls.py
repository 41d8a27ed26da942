"""Readable PyTorch text for ATen calls; `torch.ops.aten.*` where there is none.

Every entry calls the very same ATen op with the very same arguments, so that the text, the graph
it came from and the static module give bit-identical results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.emit.torch.literals import Writer
from igc.program.schema import base_name, bind, given, op_name, operation

Render = Callable[[Writer, fx.Node], str]

# torch.<name> takes the arguments of aten.<name> as they are, whatever the overload.
TORCH = frozenset({
    "abs", "acos", "addbmm", "addcdiv", "addmm", "all", "amax", "amin", "any", "arange", "argmax",
    "argmin", "asin", "atan", "atan2", "baddbmm", "bitwise_and", "bitwise_not", "bitwise_or",
    "bitwise_xor", "bmm", "bucketize", "cat", "ceil", "channel_shuffle", "clamp", "clamp_max",
    "clamp_min", "clip", "cos", "cosh", "cosine_similarity", "count_nonzero", "cumprod", "cumsum",
    "diff", "div", "dot", "erf", "erfc", "exp", "expm1", "fill", "flip", "floor",
    "floor_divide", "fmod", "frac", "full", "full_like", "gather", "hstack", "index_select",
    "isfinite", "isinf", "isnan", "lerp", "log", "log10", "log1p", "log2", "log_softmax",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp",
    "masked_fill", "matmul", "max", "maximum", "mean", "median", "min", "minimum", "mm", "mv",
    "nan_to_num", "narrow", "ones", "ones_like", "outer", "pow", "prod", "reciprocal",
    "relu", "remainder", "repeat_interleave", "roll", "round", "rsqrt", "scatter", "selu",
    "sigmoid", "sign", "sin", "sinh", "softmax", "sort", "sqrt", "square", "std", "sum", "swapaxes",
    "tan", "tanh", "threshold", "tile", "topk", "tril", "triu", "trunc", "var", "vstack", "where",
    "zeros", "zeros_like",
})  # fmt: skip

# F.<name> takes them in the same order.
SAME_F = frozenset({
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "celu", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "linear", "max_pool1d", "max_pool2d", "max_pool3d", "mish", "pad", "pixel_shuffle",
    "pixel_unshuffle", "prelu", "relu6", "rms_norm", "scaled_dot_product_attention", "silu",
    "softplus",
})  # fmt: skip
FUNCTIONAL = SAME_F | {
    "batch_norm", "elu", "embedding", "fold", "group_norm", "instance_norm", "interpolate",
    "layer_norm", "logsigmoid", "unfold",
}  # fmt: skip
METHODS = frozenset({
    "bias", "device", "dtype", "expand", "flatten", "permute", "repeat", "reshape", "select",
    "shape", "squeeze", "to", "type_as", "unsqueeze", "weight",
})  # fmt: skip

INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "eq": "==", "ne": "!=", "lt": "<",
    "le": "<=", "gt": ">", "ge": ">=", "__and__": "&", "__or__": "|", "__xor__": "^",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^",
}  # fmt: skip
SIZES = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%"}


def render(write: Writer, node: fx.Node) -> str:
    """The text of one `call_function` node."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return _size(write, node)
    name = op_name(node)
    special = SPECIAL.get(name) or SPECIAL.get(operation(node).removeprefix("aten."))
    if special is not None:
        text = special(write, node)
        if text is not None:
            return text
    positional, keywords = given(node)
    if name in TORCH:
        return write.call(f"torch.{name}", *positional, **keywords)
    if name in SAME_F:
        return write.call(f"F.{name}", *positional, **keywords)
    return write.call(f"torch.ops.{operation(node)}", *node.args, **node.kwargs)


def has_text(op: torch._ops.OpOverload) -> bool:
    """Whether calls of an op are written as readable PyTorch, for most of its arguments."""
    name = base_name(op)
    return name in TORCH | SAME_F | set(SPECIAL) or str(op).removeprefix("aten.") in SPECIAL


def _size(write: Writer, node: fx.Node) -> str:
    name = operation(node).removeprefix("operator.")
    args = [write(a) for a in node.args]
    if name == "getitem":
        return f"{args[0]}[{args[1]}]"
    if name == "neg":
        return f"-{args[0]}"
    return f"{_operand(args[0])} {SIZES[name]} {_operand(args[1])}"


def _operand(text: str) -> str:
    """A negative number needs its parentheses: (-2) ** x."""
    return f"({text})" if text.startswith("-") else text


def _infix(write: Writer, node: fx.Node) -> str | None:
    args = bind(node)
    if args.get("alpha", 1) != 1 or args.get("rounding_mode") is not None:
        return None
    left, right = (_operand(write(a)) for a in list(args.values())[:2])
    return f"{left} {INFIX[op_name(node)]} {right}"


def _rsub(write: Writer, node: fx.Node) -> str | None:
    args = bind(node)
    if args["alpha"] != 1:
        return None
    return f"{_operand(write(args['other']))} - {write(args['self'])}"


def _method(name: str) -> Render:
    def text(write: Writer, node: fx.Node) -> str:
        first, *rest = given(node)[0]
        return write.call(f"{write(first)}.{name}", *rest)

    return text


def _cast(write: Writer, node: fx.Node) -> str | None:
    positional, keywords = given(node)
    keywords.pop("device", None)
    if len(positional) != 1 or set(keywords) != {"dtype"}:
        return None
    return write.call(f"{write(positional[0])}.to", keywords["dtype"])


def _factory(write: Writer, node: fx.Node) -> str:
    positional, keywords = given(node)
    keywords.pop("pin_memory", None)
    keywords.pop("layout", None)
    if write.like is not None and "device" not in keywords and not _has_tensor(node):
        keywords["device"] = torch.device("cpu")
    return write.call(f"torch.{op_name(node)}", *positional, **keywords)


def _has_tensor(node: fx.Node) -> bool:
    return bool(node.args) and isinstance(node.args[0], fx.Node)


def _slice(write: Writer, node: fx.Node) -> str | None:
    args = bind(node)
    axis, start, end, step = args["dim"], args["start"], args["end"], args["step"]
    first = "" if start in (None, 0) else write(start)
    last = "" if end is None or (isinstance(end, int) and end >= 2**62) else write(end)
    text = f"{first}:{last}" + ("" if step == 1 else f":{write(step)}")
    return _indexed(write(args["self"]), axis, text)


def _select(write: Writer, node: fx.Node) -> str | None:
    args = bind(node)
    return _indexed(write(args["self"]), args["dim"], write(args["index"]))


def _indexed(value: str, axis: Any, index: str) -> str | None:
    """`value[:, :, index]`, or `value[..., index]` where the axis counts from the end."""
    if not isinstance(axis, int) or not -1 <= axis < 6:
        return None
    return f"{value}[{'..., ' if axis == -1 else ':, ' * axis}{index}]"


def _take(write: Writer, node: fx.Node) -> str | None:
    args = bind(node)
    *before, last = args["indices"]
    if last is None or any(i is not None for i in before):
        return None
    return _indexed(write(args["self"]), len(before), write(last))


def _shape(write: Writer, node: fx.Node) -> str:
    args = bind(node)
    return f"{write(args['self'])}.shape[{write(args['dim'])}]"


def _norm(name: str, order: tuple[str, ...]) -> Render:
    def text(write: Writer, node: fx.Node) -> str:
        args = bind(node)
        value, *rest = (args[k] for k in order)
        return write.call(f"F.{name}", value, *rest)

    return text


def _batch_norm(write: Writer, node: fx.Node) -> str:
    args = bind(node)
    order = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum")
    return write.call("F.batch_norm", *(args[k] for k in order), eps=args["eps"])


def _instance_norm(write: Writer, node: fx.Node) -> str:
    args = bind(node)
    order = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats")
    rest = {k: args[k] for k in ("momentum", "eps")}
    return write.call("F.instance_norm", *(args[k] for k in order), **rest)


def _elu(write: Writer, node: fx.Node) -> str | None:
    args = bind(node)
    if args["scale"] != 1 or args["input_scale"] != 1:
        return None
    return write.call("F.elu", args["self"], alpha=args["alpha"])


def _embedding(write: Writer, node: fx.Node) -> str | None:
    args = bind(node)
    if args["padding_idx"] != -1 or args["scale_grad_by_freq"] or args["sparse"]:
        return None
    return write.call("F.embedding", args["indices"], args["weight"])


def _interpolate(mode: str, antialias: bool = False) -> Render:
    def text(write: Writer, node: fx.Node) -> str:
        args = bind(node)
        size, scale = args["output_size"], args["scale_factors"]
        keywords: dict[str, Any] = {"size": size} if size is not None else {"scale_factor": scale}
        keywords["mode"] = mode
        if "align_corners" in args:
            keywords["align_corners"] = args["align_corners"]
        if antialias:
            keywords["antialias"] = True
        return write.call("F.interpolate", args["input"], **keywords)

    return text


def _neg(write: Writer, node: fx.Node) -> str:
    return f"-{write(node.args[0])}"


def _invert(write: Writer, node: fx.Node) -> str:
    return f"~{write(node.args[0])}"


SPECIAL: dict[str, Callable[[Writer, fx.Node], str | None]] = {
    **{name: _infix for name in INFIX if name != "pow"},
    "pow.Tensor_Scalar": _infix,
    "pow.Tensor_Tensor": _infix,
    "rsub": _rsub,
    "neg": _neg,
    "bitwise_not": _invert,
    "view.default": _method("reshape"),
    **{name: _method(name) for name in ("reshape", "permute", "expand", "repeat")},
    **{name: _method(name) for name in ("unsqueeze", "squeeze", "type_as")},
    "_to_copy": _cast,
    **dict.fromkeys(("zeros", "ones", "full", "arange"), _factory),
    "slice.Tensor": _slice,
    "select.int": _select,
    "index.Tensor": _take,
    "sym_size.int": _shape,
    "layer_norm": _norm("layer_norm", ("input", "normalized_shape", "weight", "bias", "eps")),
    "group_norm": _norm("group_norm", ("input", "num_groups", "weight", "bias", "eps")),
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "elu": _elu,
    "log_sigmoid": _norm("logsigmoid", ("self",)),
    "im2col": _norm("unfold", ("self", "kernel_size", "dilation", "padding", "stride")),
    "col2im": _norm(
        "fold", ("self", "output_size", "kernel_size", "dilation", "padding", "stride")
    ),
    "embedding": _embedding,
    "upsample_nearest1d.vec": _interpolate("nearest"),
    "upsample_nearest2d.vec": _interpolate("nearest"),
    "upsample_nearest3d.vec": _interpolate("nearest"),
    "_upsample_nearest_exact1d.vec": _interpolate("nearest-exact"),
    "_upsample_nearest_exact2d.vec": _interpolate("nearest-exact"),
    "_upsample_nearest_exact3d.vec": _interpolate("nearest-exact"),
    "upsample_linear1d.vec": _interpolate("linear"),
    "upsample_bilinear2d.vec": _interpolate("bilinear"),
    "upsample_trilinear3d.vec": _interpolate("trilinear"),
    "upsample_bicubic2d.vec": _interpolate("bicubic"),
    "_upsample_bilinear2d_aa.vec": _interpolate("bilinear", antialias=True),
    "_upsample_bicubic2d_aa.vec": _interpolate("bicubic", antialias=True),
}
