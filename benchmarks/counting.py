"""The MACs, FLOPs and parameters of a module, counted while it runs on meta tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from igc.ops.macs import op_macs


@dataclass(frozen=True)
class Cost:
    """The cost of one run of a module: MACs (1 multiply-add = 1), FLOPs (2 x MACs), parameters."""

    macs: int
    #: Every parameter once, normalisation and biases included, buffers not.
    params: int
    #: ATen op -> its share of ``macs``.
    by_op: Mapping[str, int] = field(default_factory=dict)
    #: Ops that ran and whose cost igc does not know.
    uncounted: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """FLOPs, which are 2 x MACs."""
        return 2 * self.macs

    def __str__(self) -> str:
        text = f"{self.macs:,} MACs ({self.flops:,} FLOPs), {self.params:,} parameters"
        return text + (f", not counted: {', '.join(self.uncounted)}" if self.uncounted else "")


# PyTorch leaves the two methods of TorchDispatchMode untyped that a subclass calls.
class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the MACs of every op that runs inside ``with MacCounter() as counter:``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_op: dict[str, int] = {}
        self.uncounted: dict[str, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        macs, name = op_macs(func, args, out), str(func.overloadpacket)
        if macs is None:
            self.uncounted[name] = self.uncounted.get(name, 0) + 1
        elif macs:
            self.by_op[name] = self.by_op.get(name, 0) + macs
        return out


@contextmanager
def _without_data(module: nn.Module) -> Iterator[None]:
    """Every parameter and buffer is a meta tensor inside the block, shared ones the same one.

    ``torch.func.functional_call`` would do, but leaves a child that is reached by two names with
    the replacements (PyTorch 2.13).
    """
    stores: list[dict[str, Any]] = [
        store for child in module.modules() for store in (child._parameters, child._buffers)
    ]
    originals = [dict(store) for store in stores]
    meta: dict[int, Tensor] = {}
    try:
        for store in stores:
            for name, tensor in store.items():
                if tensor is not None:
                    store[name] = meta.setdefault(id(tensor), tensor.detach().to("meta"))
        yield
    finally:
        for store, original in zip(stores, originals, strict=True):
            store.update(original)


def count(module: nn.Module, *inputs: Any) -> Cost:
    """The cost of ``module(*inputs)`` in eval mode, from shapes alone.

    Parameters, buffers and inputs (tensors, or tuples, lists and dicts of them) are replaced by
    meta tensors of the same shape, so nothing is computed and no weight is copied; the module is
    left as it was. A module whose control flow reads values cannot be counted so, and raises what
    PyTorch raises for reading a meta tensor.
    """
    arguments = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), inputs)
    training = [child for child in module.modules() if child.training]
    counter = MacCounter()
    try:
        module.eval()
        with torch.no_grad(), _without_data(module), counter:
            module(*arguments)
    finally:
        for child in training:
            child.training = True
    return Cost(
        macs=sum(counter.by_op.values()),
        params=sum(parameter.numel() for parameter in module.parameters()),
        by_op=dict(sorted(counter.by_op.items())),
        uncounted=tuple(sorted(counter.uncounted)),
    )
