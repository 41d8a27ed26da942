"""The gated network read back from a checkpoint: an `nn.Module` made without the user's code."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igc.errors import BadInput
from igc.program import Program
from igc.program.devices import on_cpu
from igc.program.digest import storage_key
from igc.program.execute import execute
from igc.program.gates import tasks_of
from igc.program.rebuild import with_arguments
from igc.program.returned import finished

PARAMETER, FROZEN, BUFFER = "parameter", "frozen", "buffer"


class GatedGraph(nn.Module):
    """A captured network with its tensors under the names they had in the user's module.

    `state_dict` has the original's keys, and tied parameters are tied again. `forward` takes the
    original's inputs and returns the original's structure of outputs. The parameters are
    trainable; the graph is the one of evaluation mode, in training mode too: batch norms use
    their stored statistics, and thresholded gates pass no gradient. Where the original kept its
    gates and mixes in `gates[layer][task].alpha` and `mixes[layer].beta`, so does this one.
    """

    def __init__(
        self, program: Program, tensors: Mapping[str, Tensor], state: Mapping[str, str]
    ) -> None:
        """Takes every tensor of the checkpoint; `state` says what each was in the user's module.

        Its values are "parameter", "frozen" (a parameter without gradient) or "buffer"; tensors
        it does not name become buffers outside the state_dict.
        """
        super().__init__()
        self._program = replace(program, constants={})
        self._reads = tuple(program.constants)
        typed = (n for n, t in program.constants.items() if t.dtype == program.dtype)
        self._typed = next(typed, None)
        made: dict[tuple[Any, ...], nn.Parameter] = {}
        for name, tensor in tensors.items():
            _place(self, name, tensor, state.get(name), made)
        for layer, by_task in program.gates.items():
            for task, name in by_task.items():
                _call_by_name(self, name, ("gates", layer, task))
        for layer, name in program.mixes.items():
            _call_by_name(self, name, ("mixes", layer))
        self.eval()

    @property
    def program(self) -> Program:
        """The program around the tensors as they are now, in the type they are now."""
        constants = {n: t.detach() for n, t in self._tensors().items()}
        dtype = self._converted()
        program = self._program if dtype is None else _retyped(self._program, dtype)
        return on_cpu(replace(program, constants=constants))

    def to_program(self) -> Program:
        """The same as `program`: what igc takes instead of capturing the network anew."""
        return self.program

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks: those of the gates where they are known, else of the outputs."""
        return tasks_of(self._program)

    def forward(self, *inputs: Tensor) -> Any:
        """The outputs in the original's structure; raises `BadInput` for inputs that do not fit."""
        self._check(inputs)
        program = replace(self._program, constants=self._tensors())
        device = next((t.device for t in inputs), None)
        values = execute(
            program,
            inputs,
            dtype=self._converted(),
            device=None if device is None or device.type == "cpu" else device,
        )
        return finished(pytree.tree_unflatten(values, program.out_spec))

    def extra_repr(self) -> str:
        """Inputs, tasks and the size of the graph on one line."""
        program = self._program
        inputs = ", ".join(f"{s.name}: {'x'.join(map(str, s.dims))}" for s in program.inputs)
        return f"({inputs}) -> {', '.join(self.tasks)}; {len(program.graph.nodes)} nodes"

    def __deepcopy__(self, memo: dict[int, Any]) -> GatedGraph:
        """A copy with tensors of its own; the program never changes and is shared."""
        memo[id(self._program)] = self._program
        made = memo[id(self)] = GatedGraph.__new__(GatedGraph)
        made.__dict__ = copy.deepcopy(self.__dict__, memo)
        return made

    def _tensors(self) -> dict[str, Tensor]:
        return {name: _find(self, name) for name in self._reads}

    def _converted(self) -> torch.dtype | None:
        """The floating type the network was converted to, None if it still is the stored one."""
        now = self._program.dtype if self._typed is None else _find(self, self._typed).dtype
        return None if now == self._program.dtype else now

    def _check(self, inputs: tuple[Tensor, ...]) -> None:
        specs = self._program.inputs
        if len(inputs) != len(specs):
            raise BadInput(f"the network takes {len(specs)} inputs, got {len(inputs)}")
        for tensor, spec in zip(inputs, specs, strict=True):
            fits = len(tensor.shape) == len(spec.dims) and all(
                isinstance(d, str) or d == n for d, n in zip(spec.dims, tensor.shape, strict=True)
            )
            if not fits:
                want = "x".join(str(d) for d in spec.dims)
                got = "x".join(str(n) for n in tensor.shape)
                raise BadInput(f"input '{spec.name}' has the shape {got}, expected {want}")


class Branch(nn.Module):
    """A level of names: `backbone` in `backbone.conv1.weight`.

    Its members are found by name as in a dict too, layers and tasks by their real names:
    `gates["layer1.0"]["seg"].alpha` where the state_dict has `gates.layer1_0.seg.alpha`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._real: dict[str, str] = {}

    def __getitem__(self, name: str) -> nn.Module:
        member = self._modules.get(name)
        for key, real in self._real.items():
            member = self._modules[key] if real == name else member
        if member is None:
            raise KeyError(name)
        return member

    def __iter__(self) -> Iterator[str]:
        return (self._real.get(key, key) for key in self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __bool__(self) -> bool:
        return True

    def keys(self) -> list[str]:
        """The real names of the members."""
        return list(self)

    def items(self) -> list[tuple[str, nn.Module]]:
        """The members with their real names."""
        return [(name, self[name]) for name in self]


def _call_by_name(root: nn.Module, tensor: str, names: tuple[str, ...]) -> None:
    """Lets the tensor's levels be found by these names, if it lies just as deep."""
    *path, _ = tensor.split(".")
    if len(path) != len(names) or path[0] != names[0]:
        return
    owner: Any = root._modules[path[0]]
    for key, name in zip(path[1:], names[1:], strict=True):
        owner._real[key] = name
        owner = owner._modules[key]


def _place(
    root: nn.Module,
    name: str,
    tensor: Tensor,
    kind: str | None,
    made: dict[tuple[Any, ...], nn.Parameter],
) -> None:
    """Puts the tensor where its dotted name says, as a parameter or a buffer.

    It goes straight into the tables of `nn.Module`: the names are the user's, and one of them may
    well be called `forward` or `training`.
    """
    *path, last = name.split(".")
    owner = root
    for part in path:
        below = owner._modules.get(part)
        if below is None:
            below = owner._modules[part] = Branch()
        owner = below
    if kind in (PARAMETER, FROZEN):
        place = (*storage_key(tensor, name), kind)
        if place not in made:
            made[place] = nn.Parameter(tensor, requires_grad=kind == PARAMETER)
        owner._parameters[last] = made[place]
    else:
        owner._buffers[last] = tensor
        if kind != BUFFER:
            owner._non_persistent_buffers_set.add(last)


def _find(root: nn.Module, name: str) -> Tensor:
    *path, last = name.split(".")
    owner: Any = root
    for part in path:
        owner = owner._modules[part]
    found = owner._parameters.get(last)
    return owner._buffers[last] if found is None else found  # type: ignore[no-any-return]


def _retyped(program: Program, dtype: torch.dtype) -> Program:
    """The program with its floating type replaced wherever the graph names it."""
    specs = tuple(
        replace(s, dtype=dtype) if s.dtype == program.dtype else s for s in program.inputs
    )
    named = with_arguments(program, lambda a: dtype if a is program.dtype else a)
    return replace(named, inputs=specs, dtype=dtype)
