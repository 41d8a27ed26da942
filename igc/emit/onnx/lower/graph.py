"""The ONNX graph under construction, as plain data: nodes, initialisers, names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from igc.program.digest import digest


@dataclass(frozen=True)
class OnnxNode:
    """One ONNX node; an empty input name means "left out"."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...]


@dataclass
class OnnxGraph:
    """Nodes in order, initialisers by name, and the names that are taken."""

    nodes: list[OnnxNode] = field(default_factory=list)
    initialisers: dict[str, Tensor] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    _made: dict[Any, str] = field(default_factory=dict)

    def fresh(self, hint: str) -> str:
        """`hint`, with a number behind it where that name is taken."""
        name, count = hint, 1
        while name in self.taken:
            count += 1
            name = f"{hint}_{count}"
        self.taken.add(name)
        return name

    def op(self, kind: str, *inputs: str | None, hint: str = "", **attributes: Any) -> str:
        """Adds a node with one output and returns that output's name.

        An equal node that exists already is used again. Attributes that are None are left out.
        """
        return self.ops(kind, *inputs, hint=hint, count=1, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str | None, hint: str = "", count: int, **attributes: Any
    ) -> tuple[str, ...]:
        """Adds a node with `count` outputs and returns their names."""
        names = [i or "" for i in inputs]
        while names and not names[-1]:
            names.pop()
        kept = tuple(
            (k, tuple(v) if isinstance(v, (list, torch.Size)) else v)
            for k, v in sorted(attributes.items())
            if v is not None
        )
        key = (kind, tuple(names), kept, count)
        if key not in self._made:
            outputs = tuple(self.fresh(hint or kind.lower()) for _ in range(count))
            self.nodes.append(OnnxNode(kind, tuple(names), outputs, kept))
            self._made[key] = "\n".join(outputs)
        return tuple(self._made[key].split("\n"))

    def tensor(self, value: Tensor, hint: str) -> str:
        """An initialiser holding `value`; equal ones (type, shape and bytes) are stored once."""
        value = value.detach().cpu().contiguous()
        key = ("tensor", digest(value))
        if key not in self._made:
            name = self.fresh(hint)
            self.initialisers[name] = value
            self._made[key] = name
        return self._made[key]

    def integers(self, values: list[int] | tuple[int, ...], hint: str = "ints") -> str:
        """A small int64 vector, as axes and shapes are given."""
        return self.tensor(torch.tensor(list(values), dtype=torch.int64), hint)
