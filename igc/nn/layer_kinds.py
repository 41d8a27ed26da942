"""What a traced node is: convolution or linear, norm, activation, addition; its channels.

Every question is answered for both spellings, the module (`nn.Conv2d`) and the function
(`F.conv2d`).
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from igc.nn.examples import attribute

CONVS = (nn.modules.conv._ConvNd,)
LINEARS = (nn.Linear, nn.Bilinear)
BATCH_NORMS = (nn.modules.batchnorm._NormBase,)  # instance norms too; channels on axis 1
LAST_NORMS = (nn.LayerNorm, nn.RMSNorm)  # channels on the last axis
NORMS = (*BATCH_NORMS, *LAST_NORMS, nn.GroupNorm, nn.LocalResponseNorm)
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink),
    nn.Threshold,
)

CONV_CALLS: set[Any] = {F.conv1d, F.conv2d, F.conv3d}
TRANSPOSED_CALLS: set[Any] = {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
LINEAR_CALLS: set[Any] = {F.linear, F.bilinear}
NORM_NAMES = {"batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"}
ACTIVATION_NAMES = {kind.__name__.lower() for kind in ACTIVATIONS} | {
    "leaky_relu",
    "clamp",
    "clamp_min",
    "clip",
}
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
    """Whether the node is a batch, instance, group, layer or RMS norm."""
    return isinstance(module_of(root, node), NORMS) or _name(node) in NORM_NAMES


def is_activation(root: nn.Module, node: fx.Node) -> bool:
    """Whether the node is a pointwise activation (softmax and GLU mix values: they are not)."""
    return isinstance(module_of(root, node), ACTIVATIONS) or _name(node) in ACTIVATION_NAMES


def is_add(node: fx.Node) -> bool:
    """Whether the node is an addition, out of place."""
    return node.op in ("call_function", "call_method") and node.target in ADDS


def _calls(node: fx.Node, functions: set[Any]) -> bool:
    return node.op == "call_function" and node.target in functions


def _name(node: fx.Node) -> str:
    if node.op == "call_function":
        return getattr(node.target, "__name__", "")
    return str(node.target) if node.op == "call_method" else ""


def is_shape(node: fx.Node) -> bool:
    """Whether the node is a size, not a feature: `x.shape`, `x.size(1)`, arithmetic on those."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel", "nelement", "ndimension")
    if _calls(node, {getattr}):
        return node.args[1] in ("shape", "ndim", "dtype", "device")
    arithmetic = getattr(node.target, "__module__", "") == "_operator"  # getitem and // too
    inputs = node.all_input_nodes
    return arithmetic and bool(inputs) and all(is_shape(n) for n in inputs)


def weight_shape(root: nn.Module, node: fx.Node) -> torch.Size | None:
    """Returns the shape of the weight a functional convolution or linear reads, if it is known."""
    weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
    if isinstance(weight, fx.Node) and weight.op == "get_attr":
        value = attribute(root, str(weight.target))
        return value.shape if isinstance(value, Tensor) else None
    return None
