"""One branch's weights: copies of the backbone's modules and tensors under their own paths."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, fx, nn

from igc.nn.copies import copied
from igc.nn.in_place import disable_in_place


class Branch(nn.Module):
    """The part of the backbone that one branch computes, every tensor under its original name."""


def make_branch(backbone: nn.Module, nodes: Sequence[fx.Node]) -> Branch:
    """Returns copies of the modules and tensors that `nodes` use, at the paths they have.

    Tensors that the backbone ties stay tied within the branch. In-place switches are off.
    """
    source = copied(backbone)
    disable_in_place(source)
    branch = Branch()
    for node in nodes:
        if node.op == "call_module":
            owner, name = _owner(branch, str(node.target))
            owner.add_module(name, source.get_submodule(str(node.target)))
    for node in nodes:
        if node.op == "get_attr":
            _put_tensor(branch, source, str(node.target))
    return branch


def _put_tensor(branch: Branch, source: nn.Module, path: str) -> None:
    parent, _, name = path.rpartition(".")
    home = source.get_submodule(parent)
    owner, _ = _owner(branch, path)
    value = getattr(home, name)
    if hasattr(owner, name):
        return
    if isinstance(value, nn.Parameter):
        owner.register_parameter(name, value)
    elif isinstance(value, Tensor):
        stored = name in home._buffers and name not in home._non_persistent_buffers_set
        owner.register_buffer(name, value, persistent=stored)
    else:
        setattr(owner, name, value)


def _owner(branch: Branch, path: str) -> tuple[nn.Module, str]:
    """Returns the module that holds `path`, made where missing, and the last part of the path."""
    *parents, name = path.split(".")
    owner: nn.Module = branch
    for parent in parents:
        if parent not in owner._modules:
            owner.add_module(parent, nn.Module())
        owner = owner.get_submodule(parent)
    return owner, name
