"""What networks are wrapped in for training, and the network inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from igc.errors import BadInput

# Where a wrapper of torch holds its network. By name: importing them all takes seconds.
INSIDE = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.optim.swa_utils.AveragedModel": "module",
}
SHARDED = "torch.distributed.fsdp"


def inside(module: nn.Module) -> nn.Module | None:
    """Returns the network that `module` wraps (in parallel, compiled or averaged), else None."""
    for kind in type(module).__mro__:
        name = INSIDE.get(f"{kind.__module__}.{kind.__qualname__}")
        if name is not None:
            return module.get_submodule(name)
    return None


def unwrapped(backbone: nn.Module) -> nn.Module:
    """Returns the network inside all wrappers of torch; raises BadInput for one with hooks."""
    while (inner := inside(backbone)) is not None:
        if any(
            (backbone._forward_hooks, backbone._forward_pre_hooks)
            + (backbone._backward_hooks, backbone._backward_pre_hooks)
        ):
            raise BadInput(
                f"the backbone is wrapped in {type(backbone).__name__}, which has hooks: put them "
                "on the network inside"
            )
        backbone = inner
    return backbone


@contextmanager
def compiled_inside() -> Iterator[None]:
    """Within, functions that `torch.compile` made run as they were written, for whoever traces."""
    dynamo: Any = sys.modules.get("torch._dynamo.config")
    if dynamo is None:
        yield
        return
    with dynamo.patch(error_on_nested_fx_trace=False):
        yield


def check_modules(network: nn.Module, called: str = "the backbone", do: str = "gate") -> None:
    """Raises BadInput, naming the module, for kinds of modules that have no Python to trace.

    `called` is what the message calls the network, `do` what is to be done with it instead.
    """
    for path, module in network.named_modules():
        name = f"module '{path}'" if path else called
        kinds = {kind.__module__ + "." + kind.__qualname__ for kind in type(module).__mro__}
        if "torch.jit._script.ScriptModule" in kinds:
            raise BadInput(
                f"{name} is compiled by torch.jit: {do} the network as it was before "
                "torch.jit.script or torch.jit.trace (its state_dict can be loaded into that)"
            )
        if any(_quantised(kind) for kind in kinds):
            raise BadInput(
                f"{name} ({type(module).__name__}) is made for quantisation: {do} the "
                "network as it was before torch.ao prepared it, and quantise the compiled one"
            )
        if any(kind.startswith(SHARDED) for kind in kinds):
            raise BadInput(f"{name} is sharded (FSDP): {do} the network as it was before")


def _quantised(kind: str) -> bool:
    """Fake quantisation, observers, layers that have them; not stubs and `FloatFunctional`."""
    if kind.startswith(("torch.ao.quantization.fake_quantize.", "torch.ao.quantization.observer.")):
        return True
    if kind.endswith((".FloatFunctional", ".FXFloatFunctional")):
        return False
    layers = kind.startswith(("torch.ao.nn.", "torch.nn.", "torchao."))
    return layers and bool({"qat", "quantized", "quantizable"} & set(kind.split(".")))
