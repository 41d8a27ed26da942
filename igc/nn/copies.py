"""Copies of modules, those too that `copy.deepcopy` refuses."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igc.errors import BadInput, first_line

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module) -> Module:
    """Returns a deep copy of the module.

    Some modules keep a tensor that they have computed, alone or in a list or dict, which torch does
    not copy: `torch.nn.utils.weight_norm` and `spectral_norm` keep the weight, and make it anew in
    each forward. The copy gets its value. Hooks on the gradients of parameters are put on the
    copy's. Raises BadInput for a module that holds what Python cannot copy.
    """
    kept = (t for m in module.modules() for t in pytree.tree_leaves(dict(vars(m))))
    computed = {id(t): t.detach().clone() for t in kept if isinstance(t, Tensor) and not t.is_leaf}
    try:
        made = copy.deepcopy(module, computed)
    except Exception as error:  # whatever an attribute raises that does not want to be copied
        raise BadInput(
            f"the backbone cannot be copied ({first_line(error)}), and each branch is a copy: keep "
            "what cannot be copied (open files, locks, scripted functions) out of its attributes"
        ) from error
    for original, parameter in zip(module.parameters(), made.parameters(), strict=True):
        for hook in (original._backward_hooks or {}).values():
            if parameter.requires_grad:
                copy_of: Any = parameter
                copy_of.register_hook(hook)
    return made
