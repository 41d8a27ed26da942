"""In-place ops -> their out-of-place twins, so that a value may safely have several readers.

Gating gives one feature several readers (its branch, the mix, the other tasks' gates). An
in-place op on it would change what the others read, and break the backward pass.
"""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from igc.errors import BadInput
from igc.nn.hooks import HOOKS, Hooked
from igc.nn.trace import PATH, Traced
from igc.nn.traced_values import VIEWED, with_item

IN_PLACE_OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
    operator.imatmul: operator.matmul,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
}


VIEWS = {
    *("getitem", "view", "view_as", "reshape", "flatten", "unflatten", "permute", "transpose"),
    *("t", "movedim", "narrow", "select", "squeeze", "unsqueeze", "chunk", "split", "unbind"),
    *("expand", "expand_as", "swapaxes", "swapdims", "moveaxis", "diagonal", "unfold", "ravel"),
    *("detach", "contiguous", "tensor_split", "hsplit", "vsplit", "split_with_sizes", *VIEWED),
}


def remove_in_place(traced: Traced) -> None:
    """Rewrites `traced.graph`: in-place ops become their twins, and later readers read the result.

    A hook that the forward puts on a tensor is noted at the node that made the tensor. Raises
    BadInput, naming the module, for an in-place op that has no twin.
    """
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    for node in traced.graph.nodes:
        if isinstance(node.target, Hooked):
            _note_hook(traced.graph, node)
            continue
        if not _made_out_of_place(traced.root, node):
            continue
        changed = node.args[0]
        if isinstance(changed, fx.Node):
            _refuse_view(changed, node, order)
            for reader in [user for user in changed.users if order[user] > order[node]]:
                reader.replace_input_with(changed, node)


def disable_in_place(module: nn.Module) -> None:
    """Sets `inplace = False` on every submodule that has the switch (ReLU, Dropout ...)."""
    for child in module.modules():
        if getattr(child, "inplace", None) is True:
            vars(child)["inplace"] = False


def _note_hook(graph: fx.Graph, node: fx.Node) -> None:
    if node.users:
        raise BadInput(
            f"the backbone uses what register_hook returned in {node.meta[PATH] or 'its forward'}: "
            "leave the handle alone, or write the hook as a torch.autograd.Function"
        )
    node.all_input_nodes[0].meta.setdefault(HOOKS, []).append(node.target)
    graph.erase_node(node)


def _refuse_view(changed: fx.Node, node: fx.Node, order: dict[fx.Node, int]) -> None:
    """A change made through a view is seen in what it is a view of: igc does not follow it."""
    view = changed
    while called(view) in VIEWS and isinstance(view.args[0], fx.Node):
        view = view.args[0]
        if any(order[user] > order[node] for user in view.users):
            raise BadInput(
                f"the backbone changes a part of a tensor in {node.meta[PATH] or 'its forward'} "
                f"through `{called(changed)}` and reads the tensor later: rewrite that line "
                "as `x[...] = value` or without changing x"
            )


def called(node: fx.Node) -> str:
    """The plain name of the function or method that a node calls, "" for other nodes."""
    if node.op == "call_method":
        return str(node.target)
    if node.target is getattr:
        return str(node.args[1])
    return getattr(node.target, "__name__", "") if node.op == "call_function" else ""


def _made_out_of_place(root: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return getattr(root.get_submodule(str(node.target)), "inplace", None) is True
    if node.op == "call_method":
        return _renamed(node, str(node.target), Tensor)
    if node.op != "call_function":
        return False
    if node.target is with_item:
        return True
    if node.target in IN_PLACE_OPERATORS:
        node.target = IN_PLACE_OPERATORS[node.target]
        return True
    return _without_flag(node) or _renamed(node, getattr(node.target, "__name__", ""), torch)


def _renamed(node: fx.Node, name: str, home: Any) -> bool:
    """`relu_` -> `relu`. An in-place name ends in one underscore."""
    if name == "requires_grad_":
        return True  # it changes no value, and has no twin: later readers read what it returns
    if not name.endswith("_") or name.endswith("__"):
        return False
    twin = name[:-1]
    if not hasattr(home, twin):
        raise BadInput(
            f"the backbone calls `{name}` in {node.meta[PATH] or 'its forward'}, which changes a "
            "tensor in place and has no out-of-place form: rewrite that line"
        )
    node.target = twin if home is Tensor else getattr(home, twin)
    return True


def _without_flag(node: fx.Node) -> bool:
    """`F.relu(x, inplace=True)` -> `F.relu(x, inplace=False)`."""
    try:
        names = list(inspect.signature(node.target).parameters)  # type: ignore[arg-type]  # callable
    except (TypeError, ValueError):  # a builtin without a signature has no `inplace` argument
        return False
    if "inplace" not in names:
        return False
    position = names.index("inplace")
    if node.kwargs.get("inplace") is True:
        node.kwargs = {**node.kwargs, "inplace": False}
    elif len(node.args) > position and node.args[position] is True:
        node.update_arg(position, False)
    else:
        return False
    return True
