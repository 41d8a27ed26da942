"""Copies of modules, those too that `copy.deepcopy` refuses."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module) -> Module:
    """Returns a deep copy of the module.

    Some modules keep a tensor that they have computed, which torch does not copy:
    `torch.nn.utils.weight_norm` and `spectral_norm` keep the weight, and make it anew in each
    forward. The copy gets its value.
    """
    kept = (t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor))
    computed = {id(t): t.detach().clone() for t in kept if not t.is_leaf}
    return copy.deepcopy(module, computed)
