"""What a traced node is: convolution or linear, norm, activation, addition; its channels.

Every question is answered for both spellings, the module (`nn.Conv2d`) and the function
(`F.conv2d`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

CONVS = (nn.modules.conv._ConvNd,)
LINEARS = (nn.Linear, nn.Bilinear)
CHANNEL_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)  # channels on axis 1
LAST_NORMS = (nn.LayerNorm, nn.RMSNorm)  # channels on the last axis
NORMS = (*CHANNEL_NORMS, *LAST_NORMS, nn.LocalResponseNorm)
ACTIVATIONS = tuple(
    getattr(nn, name)
    for name in (
        "ReLU ReLU6 LeakyReLU PReLU RReLU ELU SELU CELU GELU SiLU Mish Sigmoid LogSigmoid Tanh "
        "Hardtanh Hardswish Hardsigmoid Hardshrink Softshrink Tanhshrink Softplus Softsign Threshold"
    ).split()
)

CONV_CALLS = {F.conv1d, F.conv2d, F.conv3d}
TRANSPOSED_CALLS = {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
LINEAR_CALLS = {F.linear, F.bilinear}
NORM_NAMES = {"batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"}
ACTIVATION_NAMES = set(
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish sigmoid logsigmoid tanh "
    "hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink softplus softsign threshold "
    "clamp clamp_min clip".split()
)
ADDS: set[Any] = {operator.add, torch.add, "add"}


def module_of(root: nn.Module, node: fx.Node) -> nn.Module | None:
    """Returns the module a `call_module` node calls, None for any other node."""
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_weighted(root: nn.Module, node: fx.Node) -> bool:
    """Whether the node is a convolution (transposed too) or a linear layer."""
    return isinstance(module_of(root, node), CONVS + LINEARS) or _calls(
        node, CONV_CALLS | TRANSPOSED_CALLS | LINEAR_CALLS
    )


def is_norm(root: nn.Module, node: fx.Node) -> bool:
    return isinstance(module_of(root, node), NORMS) or _name(node) in NORM_NAMES


def is_activation(root: nn.Module, node: fx.Node) -> bool:
    return isinstance(module_of(root, node), ACTIVATIONS) or _name(node) in ACTIVATION_NAMES


def is_add(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and node.target in ADDS


def _calls(node: fx.Node, functions: set[Callable[..., Any]]) -> bool:
    return node.op == "call_function" and node.target in functions


def _name(node: fx.Node) -> str:
    if node.op == "call_function":
        return getattr(node.target, "__name__", "")
    return str(node.target) if node.op == "call_method" else ""


def is_shape(node: fx.Node) -> bool:
    """Whether the node is a size, not a feature: `x.shape`, `x.size(1)`, arithmetic on those."""
    if node.op == "call_method" and node.target in ("size", "dim", "numel", "nelement", "ndimension"):
        return True
    if _calls(node, {getattr}) and node.args[1] in ("shape", "ndim", "dtype", "device"):
        return True
    inputs = node.all_input_nodes
    return node.op == "call_function" and bool(inputs) and all(is_shape(n) for n in inputs) and (
        node.target is operator.getitem or getattr(node.target, "__module__", "") == "_operator"
    )


def weight_shape(root: nn.Module, node: fx.Node) -> torch.Size | None:
    """Returns the shape of the weight a functional convolution or linear reads, if it is known."""
    weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
    if isinstance(weight, fx.Node) and weight.op == "get_attr":
        *owners, name = str(weight.target).split(".")
        value = getattr(root.get_submodule(".".join(owners)), name)
        return value.shape if isinstance(value, Tensor) else None
    return None
