"""Copies of modules, those too that `copy.deepcopy` refuses."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module) -> Module:
    """Returns a deep copy of the module.

    Some modules keep a tensor that they have computed, which torch does not copy:
    `torch.nn.utils.weight_norm` and `spectral_norm` keep the weight, and make it anew in each
    forward. The copy gets its value. Hooks on the gradients of parameters are put on the copy's.
    """
    kept = (t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor))
    computed = {id(t): t.detach().clone() for t in kept if not t.is_leaf}
    made = copy.deepcopy(module, computed)
    for original, parameter in zip(module.parameters(), made.parameters(), strict=True):
        for hook in (original._backward_hooks or {}).values():
            if parameter.requires_grad:
                copy_of: Any = parameter
                copy_of.register_hook(hook)
    return made
