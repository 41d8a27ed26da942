"""What stands for a value while the backbone's Python runs: proxies that answer questions."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, cast

from torch import fx, nn

from igc.nn.examples import VALUE
from igc.nn.hooks import hooked
from igc.nn.regions import REGION

VIEWED = {"T", "mT", "H", "mH", "real", "imag"}  # attributes of a tensor that are tensors


def with_item(x: Any, index: Any, value: Any) -> Any:
    """A copy of `x` in which `index` holds `value`: what `x[index] = value` becomes."""
    copy = x.clone()
    copy[index] = value
    return copy


class Assignable(fx.Proxy):
    """A proxy that takes `x[index] = value`; `remove_in_place` gives later readers the result."""

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", with_item, (self, index, value), {})

    def __getattr__(self, name: str) -> Any:
        if name == "requires_grad":
            return needs_grad(self.node, cast(Any, self.tracer).root)
        if name == "data":
            return self.detach()  # the same tensor, in a form that torch.export takes
        if name in VIEWED:
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def register_hook(self, hook: Any) -> fx.Proxy:
        """A node of its own, which `remove_in_place` hangs on the value as it was here."""
        return self.tracer.create_proxy("call_function", hooked(hook), (self,), {})


class Answering(Assignable):
    """A proxy that answers Python's questions (int, len, iteration) from the example's value."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.node.meta[VALUE], name, None)
        if callable(value) or name in ("requires_grad", "data"):
            return super().__getattr__(name)  # a method becomes one call_method node
        if isinstance(value, str):
            return value  # x.device.type, which torch.autocast takes as no proxy
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __index__(self) -> int:
        return int(self._answer())

    __int__ = __index__

    def __float__(self) -> float:
        return float(self._answer())

    def __len__(self) -> int:
        return len(self._answer())

    def _answer(self) -> Any:
        return cast(Any, self.tracer).examples.answer(self.node)

    def __iter__(self) -> Iterator[fx.Proxy]:
        return (operator.getitem(cast(Any, self), i) for i in range(len(self)))


def needs_grad(node: fx.Node, root: nn.Module) -> bool:
    """Whether a traced value has a gradient: it was computed from a weight that is trained.

    The inputs themselves are taken to have none, as pictures have.
    """
    pending, seen = [node], {node}
    while pending:
        now = pending.pop()
        region = now.meta.get(REGION)
        if (region is not None and region.frozen) or now.target in ("detach", "detach_"):
            continue
        if now.op == "get_attr" and _is_trained(root, str(now.target)):
            return True
        if now.op == "call_module":
            layer = root.get_submodule(str(now.target))
            if any(parameter.requires_grad for parameter in layer.parameters()):
                return True
        new = [read for read in now.all_input_nodes if read not in seen]
        seen.update(new)
        pending += new
    return False


def _is_trained(root: nn.Module, path: str) -> bool:
    """Not by `getattr`, which records a read while torch.fx traces."""
    owner, _, name = path.rpartition(".")
    parameter = root.get_submodule(owner)._parameters.get(name)
    return parameter is not None and parameter.requires_grad
