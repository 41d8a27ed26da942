"""The program that every pass reads and writes: a `torch.fx` graph over ATen ops, with its tensors.

Nodes are `placeholder` (one per input tensor), `get_attr` (a constant, by its name in
`Program.constants`), `call_function` (an ATen `OpOverload`, `aten.sym_size.int`, or `operator.*` on
sizes) and `output`. `node.meta["layer"]` names the user's module that the node came from.

The graph is never changed in place: a pass builds a new one (`igc.program.rebuild`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.program.dtypes import cast_to
from igc.program.nodes import args_of
from igc.program.recipe import Recipe


@dataclass(frozen=True)
class InputSpec:
    """One input tensor: its name, its dims (a number, or the name of a dynamic size), its dtype."""

    name: str
    dims: tuple[int | str, ...]
    dtype: torch.dtype

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """The concrete shape for the given dynamic sizes."""
        return tuple(d if isinstance(d, int) else sizes[d] for d in self.dims)


@dataclass(frozen=True)
class Program:
    """A captured network: graph, constants, inputs and the structure of its outputs.

    `sizes` maps each dynamic size to the value it had in the example inputs. `outputs` names the
    flattened outputs in order; `out_spec` is the pytree they are returned in. `gates` names, where
    the network is known to be gated by `igc.nn`, the constants that hold the gates:
    `gates[layer][task]` and `mixes[layer]`.
    `origins` tells for each constant from which checkpoint tensor it was sliced (see `Origin`),
    `kinds` as which type it counts where it is stored in a wider one (see `kind`). `note` holds
    remarks of capture, "fixed" among them: why a size of the inputs is not dynamic.
    """

    graph: fx.Graph
    constants: dict[str, Tensor]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    out_spec: pytree.TreeSpec
    sizes: dict[str, int]
    dtype: torch.dtype
    gates: dict[str, dict[str, str]] = field(default_factory=dict)
    mixes: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    kinds: dict[str, torch.dtype] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)

    def with_graph(
        self,
        graph: fx.Graph,
        constants: dict[str, Tensor],
        origins: dict[str, Origin] | None = None,
        kinds: dict[str, torch.dtype] | None = None,
    ) -> Program:
        """The same program around another graph; only the constants it names are kept."""
        used = {str(n.target) for n in graph.nodes if n.op == "get_attr"}
        known = self.origins if origins is None else origins
        counted = self.kinds if kinds is None else kinds
        return replace(
            self,
            graph=graph,
            constants={k: v for k, v in constants.items() if k in used},
            origins={k: v for k, v in known.items() if k in used},
            kinds={k: v for k, v in counted.items() if k in used},
        )

    def constant(self, name: str) -> Tensor:
        """A constant as the program computes with it: in its `kind`."""
        return cast_to(self.constants[name], self.kind(name))

    def kind(self, name: str) -> torch.dtype:
        """The type that a constant counts as.

        Constants that the network's own precision would round are folded in float64, and rounded
        once: in `constant`, or when the static network is emitted. Others have the type that they
        are stored in. Either may not be the program's: tables in float32 in a bfloat16 network.
        """
        return self.kinds.get(name) or self.constants[name].dtype

    @property
    def placeholders(self) -> list[fx.Node]:
        """The input nodes, in order."""
        return [n for n in self.graph.nodes if n.op == "placeholder"]

    @property
    def output_nodes(self) -> list[fx.Node]:
        """The nodes returned, flattened, in the order of `outputs`."""
        (out,) = (n for n in self.graph.nodes if n.op == "output")
        return list(args_of(out)[0])


def fresh_name(name: str, taken: Collection[str]) -> str:
    """A constant's name: `name`, or where that is taken `name` with a number, as in "weight~2"."""
    base, number = name.partition("~")[0], 0
    fresh = base
    while fresh in taken:
        number += 1
        fresh = f"{base}~{number}"
    return fresh


@dataclass(frozen=True)
class Origin:
    """Where a constant came from: `source[index]` of the checkpoint, or computed from `parts`.

    `index` holds one index tuple per axis, `None` for "all of this axis"; `transform` is empty for
    moved rows and names the computation otherwise (for example "fold batch norm"). `recipe` is the
    computation itself (`igc.program.recipe`), None for what is made of nothing in the checkpoint.
    It is known while compiling alone and is not saved.
    """

    source: str
    index: tuple[tuple[int, ...] | None, ...] = ()
    transform: str = ""
    parts: tuple[str, ...] = ()
    recipe: Recipe | None = field(default=None, compare=False, repr=False)
