"""A program as a plain PyTorch module."""

from __future__ import annotations

import linecache
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from itertools import count
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from igc.emit.torch.gathers import gathered
from igc.emit.torch.narrow import rounded
from igc.emit.torch.plan import Plan, plan
from igc.emit.torch.precision import retype, unrounded, with_casts
from igc.errors import BadInput
from igc.program import Program
from igc.program.devices import on_cpu
from igc.program.digest import Source, storage_key
from igc.program.dtypes import cast_to
from igc.program.gates import tasks_of
from igc.program.nodes import copy_node
from igc.program.rebuild import Env, rebuild
from igc.program.returned import maker
from igc.program.structure import Kind

_serial = count(1)


class StaticNetwork(nn.Module):
    """The static network: ordinary `torch.nn` layers and a forward of ordinary tensor calls.

    Inputs and outputs are those of the compiled network (a tensor, or tensors, None, numbers and
    texts in tuples, namedtuples, lists, dicts and objects made of those). It trains,
    prints, copies, converts (`.double()`, `.half()`, `.to(...)`) and exports like any module;
    nothing in it depends on igc. `source` is the text of its forward.
    """

    plan: Plan
    record: object = None  # of the passes that made it, where `igc.compile` did
    unrounded: Mapping[str, Tensor] = MappingProxyType({})  # by name of the constant, in float32
    compiled_from: Source | None = None  # then, too

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in the order in which they are returned."""
        return self.plan.program.outputs

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks: those of the gates where they are known, else of the outputs."""
        return tasks_of(self.plan.program)

    @property
    def source(self) -> str:
        """The text of `forward`."""
        return self.plan.forward

    @property
    def program(self) -> Program:
        """The same as `to_program()`."""
        return self.to_program()

    def to_program(self) -> Program:
        """The program that this module now runs: its graph with the current parameter values.

        Tensors are shared with the module where it is on the CPU, not copied. Raises `BadInput`
        where a parameter has another shape than igc gave it (pruned by another tool, say): compile
        the module anew then.
        """
        program = self.plan.program
        constants: dict[str, Tensor] = {}
        dtype = program.dtype
        for name, place in self.plan.where.items():
            value = _lookup(self, place).detach()
            expected = self.plan.shapes[name]
            if tuple(value.shape) != expected:
                raise BadInput(
                    f"'{place}' has shape {tuple(value.shape)}, igc made it {expected}; after "
                    "changing a static network compile it again: igc.compile(static, inputs)"
                )
            constants[name] = value
        floating = {v.dtype for v in constants.values() if v.dtype.is_floating_point}
        if len(floating) == 1:
            (dtype,) = floating
        return on_cpu(retype(replace(program, constants=constants), dtype))

    def unrounded_program(self) -> Program:
        """`to_program()`, in bfloat16 with the constants that igc computed as float32 has them.

        Not those that have been changed since.
        """
        program = self.to_program()
        wide = {
            name: value
            for name, value in self.unrounded.items()
            if torch.equal(cast_to(value, program.dtype), program.constants[name])
        }
        return replace(
            program,
            constants={**program.constants, **wide},
            kinds=program.kinds | dict.fromkeys(wide, program.dtype),
        )

    def gathered_layers(self) -> list[nn.Module]:
        """The layers from whose output channels a gather picks, by channel number.

        Pruning tools that do not know gathers (torch-pruning takes them for elementwise) have to
        leave these as they are: `ignored_layers=static.gathered_layers()`.
        """
        return [self.get_submodule(name) for name in gathered(self.plan)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the network to `path`; `igc.load` reads it back. Raises `BadInput`."""
        _from_above("igc.checkpoint", "save")(self, path)

    def export(self, folder: str | os.PathLike[str]) -> None:
        """Writes `net.py` (PyTorch code that does without igc) and `weights.safetensors`."""
        _from_above("igc.delivery", "export_source")(self, folder)


def _from_above(module: str, name: str) -> Callable[..., None]:
    """A function that stands above this file and takes a network: methods are short for it."""
    found: Callable[..., None] = getattr(import_module(module), name)
    return found


def emit(program: Program, dtype: torch.dtype | None = None) -> StaticNetwork:
    """The static network that runs `program`, in evaluation mode, in the floating type `dtype`.

    `dtype` is the program's own by default; constants of another type keep it
    (`igc.emit.torch.precision`). Convolution, linear and norm weights become parameters of
    `torch.nn` layers named after the user's, other floating constants parameters, the rest
    (indices, masks) buffers; all are copies, so that training the static network leaves its
    source alone. Tensors that share their memory, as tied weights do, become one parameter. Raises
    `BadInput` where the outputs are no tensors, tuples, lists or dicts.
    """
    program = tied(program)
    typed = with_casts(retype(program, program.dtype if dtype is None else dtype))
    made = plan(typed)
    kind = type(
        "StaticNetwork", (StaticNetwork,), {"forward": compiled(made.forward, made.containers)}
    )
    static: StaticNetwork = kind()
    static.plan = made
    static.unrounded = unrounded(program, typed)
    for name, layer in made.layers.items():
        module = layer.build()
        for own, constant in layer.tensors:
            _place(module, own, typed.constants[constant], own in module._parameters)
        for own, buffer in module.named_buffers():
            if buffer.is_meta:  # num_batches_tracked: the graph does not hold it
                setattr(module, own, torch.zeros_like(buffer, device="cpu"))
        static.add_module(name, module)
    for name, loose in made.loose.items():
        _place(static, name, typed.constants[loose.constant], loose.trainable)
    return static.eval()


def runnable(static: StaticNetwork) -> StaticNetwork:
    """What an ONNX file is made of: `static` itself, or a copy with float32 instead of bfloat16.

    Every bfloat16 weight is a float32 number, so the copy holds the very weights. Of a network that
    is in bfloat16 as a whole, those that were folded are as float32 has them, and it only rounds
    less; parts in bfloat16 keep their roundings (`igc.emit.torch.narrow`).
    """
    program = static.unrounded_program()
    in_float32 = rounded(program)
    return static if in_float32 is program else emit(in_float32)


def compiled(text: str, containers: Mapping[str, type[Any] | Kind]) -> Any:
    """The function that checked forward text defines; tracebacks show its lines."""
    name = f"<igc static network {next(_serial)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    scope: dict[str, Any] = {"torch": torch, "F": F, "OrderedDict": OrderedDict}
    scope.update((n, maker(k) if isinstance(k, Kind) else k) for n, k in containers.items())
    exec(compile(text, name, "exec"), scope)  # noqa: S102 - the text passed emit.guard
    return scope["forward"]


def tied(program: Program) -> Program:
    """The program with constants that are the same memory under one name."""
    first: dict[tuple[Any, ...], str] = {}
    named = {k: first.setdefault(storage_key(v, k), k) for k, v in program.constants.items()}
    if all(a == b for a, b in named.items()):
        return program

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        if node.op != "get_attr":
            return None
        new = copy_node(graph, node, env.__getitem__)
        new.target = named[str(node.target)]
        return new

    return rebuild(program, make)


def _place(module: nn.Module, name: str, value: Tensor, trainable: bool) -> None:
    value = value.detach().clone(memory_format=torch.contiguous_format)
    if trainable:
        module.register_parameter(name, nn.Parameter(value))
    elif name in module._buffers:
        module._buffers[name] = value
    else:
        module.register_buffer(name, value)


def _lookup(module: nn.Module, place: str) -> Tensor:
    owner, _, own = place.rpartition(".")
    value = getattr(module.get_submodule(owner), own)
    assert isinstance(value, Tensor)
    return value
