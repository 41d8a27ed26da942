"""The value of every traced node on the example inputs: shapes and dtypes, no data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from igc.errors import line_outside

_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
VALUE = "igc_value"  # node.meta: the node's value on the example inputs, tensors being fake


class Examples:
    """Computes `node.meta[VALUE]` node by node, in the order of the trace."""

    def __init__(self, inputs: Sequence[Any]) -> None:
        # A slow import (it brings a symbolic algebra along), needed with example inputs alone.
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.count = len(inputs)
        self.inputs = iter(inputs)
        self.asked: list[str] = []
        self.calling = False  # igc itself runs or reads modules: the tracer must record nothing

    def evaluate(self, node: fx.Node, root: nn.Module) -> None:
        """Sets the value of `node`, whose inputs have theirs; raises what the op raises."""
        if node.op != "output":
            node.meta[VALUE] = self._value(node, root)

    def answer(self, node: fx.Node) -> Any:
        """The value of a node that Python asks about; the line is noted, but for ranks of shapes.

        Those are the same whatever the sizes are.
        """
        value, line = node.meta[VALUE], line_outside(sys._getframe(1), _OWN)
        if not isinstance(value, (tuple, list)) and line not in self.asked:
            self.asked.append(line)
        return value

    def _value(self, node: fx.Node, root: nn.Module) -> Any:
        if node.op == "placeholder":
            return self._fake(next(self.inputs, node.args[0] if node.args else None))
        if node.op == "get_attr":
            return self._fake(self._read(root, str(node.target)))
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda read: read.meta[VALUE])
        with self.mode, torch.no_grad():
            if node.op == "call_module":
                return self._call(root.get_submodule(str(node.target)), args, kwargs)
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]  # call_function

    def _fake(self, value: Any) -> Any:
        return self.mode.from_tensor(value) if isinstance(value, Tensor) else value

    def _read(self, root: nn.Module, path: str) -> Any:
        """The attribute itself: while fx traces, `getattr` on a module would record it again."""
        self.calling = True
        try:
            return attribute(root, path)
        finally:
            self.calling = False

    def _call(self, leaf: nn.Module, args: Any, kwargs: Any) -> Any:
        """Calls a leaf for its shapes alone, in evaluation: training may refuse a batch of one.

        What the leaf notes of the call (a counter, a cached tensor) is forgotten.
        """
        before = [(m, dict(vars(m)), dict(m._buffers)) for m in leaf.modules()]
        leaf.eval()
        self.calling = True
        try:
            return leaf(*args, **kwargs)
        finally:
            self.calling = False
            for module, attributes, buffers in before:
                vars(module).clear()
                vars(module).update(attributes)
                module._buffers.clear()
                module._buffers.update(buffers)


def attribute(root: nn.Module, path: str) -> Any:
    """Returns the parameter, buffer or other attribute of `root` at a dotted path."""
    *owners, name = path.split(".")
    return getattr(root.get_submodule(".".join(owners)), name)
