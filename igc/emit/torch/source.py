"""A static network as standalone PyTorch source: `net.py` and `weights.safetensors`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from igc.emit.sizes import named_dims
from igc.emit.torch.literals import scalar
from igc.emit.torch.static import StaticNetwork
from igc.errors import BadInput
from igc.program.structure import ELSEWHERE, Kind, require_fields
from igc.version import __version__

CODE, WEIGHTS = "net.py", "weights.safetensors"

HEADER = '''"""A static network, compiled by igc {version}; it needs torch and safetensors only.

    from net import load
    net = load()            # weights.safetensors beside this file
    outputs = net(*inputs)  # see INPUTS and OUTPUTS

Run as a script, it prints the shapes of the outputs for random inputs.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
'''

FOOTER = '''
def load(path=Path(__file__).with_name("weights.safetensors")):
    """The network with the weights in `path`, in evaluation mode; every tensor has to match."""
    with torch.device("meta"):
        net = Net()
    net.load_state_dict(load_file(path), strict=True, assign=True)
    return net.eval()


def example_inputs():
    """Random inputs of the sizes that the network was compiled with."""
    return tuple(
        torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
        for shape, dtype in EXAMPLE
    )


if __name__ == "__main__":
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        result = load()(*example_inputs())
    tensors = (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
    for name, value in zip(OUTPUTS, tensors):
        print(name, tuple(value.shape), value.dtype)
'''


def write_source(static: StaticNetwork, code: Path, weights: Path) -> None:
    """Writes `net.py` and `weights.safetensors` to these paths, in place.

    `net.py` holds a class `Net` with the very forward of `static`, and `load(path)`. Raises
    `BadInput` where parameters were reshaped since compiling.
    """
    code.write_text(source_text(static), encoding="utf-8")
    save_file(dict(_tensors(static)), weights, metadata={"format": "pt"})


def source_text(static: StaticNetwork) -> str:
    """The text of `net.py`."""
    parts = [HEADER.format(version=__version__)]
    containers = static.plan.containers
    needed = ["OrderedDict"] if "OrderedDict" in static.source else []
    needed += (
        ["namedtuple"] if any("namedtuple" in _container(k) for k in containers.values()) else []
    )
    if needed:
        imports = f"from collections import {', '.join(needed)}\nfrom pathlib"
        parts[0] = parts[0].replace("from pathlib", imports)
    parts += ["\n".join(_constants(static)), "", _class(static), FOOTER]
    return "\n".join(parts)


def _constants(static: StaticNetwork) -> Iterator[str]:
    program = static.to_program()
    yield "INPUTS = ("
    for spec, named in zip(program.inputs, named_dims(program), strict=True):
        dims = ", ".join(scalar(d) for d in named)
        yield f"    ({scalar(spec.name)}, ({dims}{',' if len(named) == 1 else ''})),"
    yield ")"
    yield "EXAMPLE = ("
    for spec in program.inputs:
        yield f"    ({spec.shape(program.sizes)!r}, {spec.dtype}),"
    yield ")"
    yield "OUTPUTS = ("
    for name in program.outputs:
        yield f"    {scalar(name)},"
    yield ")"
    for name, kind in static.plan.containers.items():
        yield f"{name} = {_container(kind)}"


def _container(kind: Any) -> str:
    """What takes the place of a container whose class is code of the user's: one like it."""
    fields = kind.keys if isinstance(kind, Kind) else kind._fields
    called = kind.type.__name__ if isinstance(kind, Kind) else kind.__name__
    if isinstance(kind, Kind) and kind.is_dict:
        return "dict"
    if isinstance(kind, Kind) and kind.how == "parts":
        raise BadInput(f"the network returns a {called}, which {ELSEWHERE}")
    require_fields(called, fields)
    listed = "".join(f"{scalar(field)}, " for field in fields)
    return f"namedtuple({scalar(called)}, ({listed.rstrip()}))"


def _class(static: StaticNetwork) -> str:
    body = [f"        {line}" for line in _init(static)]
    forward = [f"    {line}" if line else line for line in static.source.splitlines()]
    lines = ["class Net(nn.Module):", "    def __init__(self):", "        super().__init__()"]
    return "\n".join([*lines, *body, "", *forward, ""])


def _init(static: StaticNetwork) -> Iterator[str]:
    plan = static.plan
    dtype = static.to_program().dtype
    for name in plan.loose:
        value = getattr(static, name)
        empty = f"torch.empty({tuple(value.shape)!r}, dtype={value.dtype})"
        if isinstance(value, torch.nn.Parameter):
            yield f"self.{name} = nn.Parameter({empty})"
        else:
            yield f"self.register_buffer({scalar(name)}, {empty})"
    for name, layer in plan.layers.items():
        yield f"self.{name} = {layer.text}"
    if dtype != torch.float32 and plan.layers:
        yield f"self.to({dtype})"


def _tensors(static: StaticNetwork) -> Iterator[tuple[str, Tensor]]:
    """The state dict, each tensor contiguous and in memory of its own, as safetensors wants it."""
    seen: set[int] = set()
    for name, value in static.state_dict().items():
        if value.is_meta:
            raise BadInput(f"'{name}' has no values (it is on the meta device)")
        own = value.detach().cpu().contiguous()
        memory = own.untyped_storage().data_ptr()
        yield name, own.clone() if memory in seen else own
        seen.add(memory)
