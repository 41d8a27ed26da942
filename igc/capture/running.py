"""The user's module run as it is, without a trace left on it, and what its graph is held against.

What torch exports is not always what the module computes: Python may look at sizes, ask whether it
is being traced, or keep things from one run to the next. So module and graph are both run.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igc.capture.decided import constants_known
from igc.errors import BadInput, Refused, one_line
from igc.nn.asked import SizeRefused
from igc.program import Program
from igc.program.dtypes import cast_to, narrower
from igc.program.execute import execute
from igc.program.returned import structured
from igc.program.shapes import shapes

# Both run the same operations in the same order, most often with the same bits; a composite one
# that was written out rounds differently. What differs by more is computed in float64.
ROUNDINGS = 64
EXACTLY = 1e-6  # relative, in float64: modules that cast to float32 inside have no more digits
RUNS = 8  # of a module that differs from its graph, to see whether it differs from itself
NARROW = 4  # roundings of a narrower type, autocast's: a float64 run of the module has them still


class DoesNotRun(Exception):
    """The module itself raises on these inputs."""


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Afterwards every attribute of the module and its children is what it was before.

    Modes are, and what a forward stores for the next one: tables by image size or by device, say.
    Stored while torch traces, these would hold tensors without data, and spoil the next run.
    """
    before = [
        (
            m,
            dict(vars(m)),
            {k: v.copy() for k, v in vars(m).items() if type(v) in (dict, list, set)},
        )
        for m in module.modules()
    ]
    try:
        yield
    finally:
        for m, attributes, contents in before:
            vars(m).clear()
            vars(m).update(attributes)
            for name, content in contents.items():
                held = attributes[name]
                held.clear()
                held.extend(content) if isinstance(held, list) else held.update(content)


def require_inputs_fit(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Raises `BadInput` in the user's words where the inputs do not fit the module.

    Raises `Refused` where that cannot be said, as the module asks for a value of its inputs.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with (
            constants_known(module), FakeTensorMode(allow_non_fake_inputs=True) as mode,
            torch.no_grad(), unchanged(module),
        ):  # fmt: skip
            module(*(mode.from_tensor(x) for x in inputs))
    except Refused:
        raise
    except Exception as error:
        shapes_ = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise BadInput(
            f"{type(module).__name__} does not accept inputs of shape {shapes_}: {one_line(error)}"
        ) from error


def difference(module: nn.Module, program: Program, inputs: Sequence[Tensor]) -> str:
    """Empty where the program computes what the module does, or how the two differ.

    Rounding is no difference: what is more than `ROUNDINGS` roundings of the own precision is
    computed again in float64. Neither is what differs from one run of the module to the next.
    Sizes that igc.gate found its network to be wrong for, and lets it refuse, are a difference.
    Torch's random state is left as it is. Raises `DoesNotRun` where the module does not take these
    inputs.
    """
    with torch.random.fork_rng(devices=[]):
        return _difference(module, program, inputs)


def _difference(module: nn.Module, program: Program, inputs: Sequence[Tensor]) -> str:
    try:
        want = _outputs(module, inputs)
    except SizeRefused as error:
        return str(error)
    try:
        with torch.no_grad():
            got = [_plain(value) for value in execute(program, inputs)]
    except Exception as error:  # torch raises many kinds
        return f"the graph does not run: {one_line(error, 120)}"
    if other := _other_kind(program.outputs, want, got):
        return other
    far = _far(program.outputs, want, got, None)
    if far and (narrow := _narrowest(program)) is not None:
        far = _far(program.outputs, want, got, NARROW * torch.finfo(narrow).eps)
        return "" if not far or _is_stochastic(module, program, inputs, want) else far
    if not far or _is_stochastic(module, program, inputs, want):
        return ""  # a stochastic network is refused where its gates are known
    if any(v.dtype.is_floating_point for v in (*want, *inputs)):
        with suppress(Exception):  # a module that takes no float64 is judged by its own precision
            wide = [cast_to(x, torch.float64) for x in inputs]
            exact = _outputs(copy.deepcopy(module).double(), wide)
            with torch.no_grad():
                found = execute(program, wide, dtype=torch.float64)
            wide_outputs = [_plain(v) for v in found]
            if not _other_kind(program.outputs, exact, wide_outputs):
                return _far(program.outputs, exact, wide_outputs, EXACTLY)
    return far


def _is_stochastic(
    module: nn.Module, program: Program, inputs: Sequence[Tensor], want: Sequence[Tensor]
) -> bool:
    """Whether another run differs; a mask of few bits may come out alike, so more than one is."""
    again = (_outputs(module, inputs) for _ in range(RUNS))
    return any(_far(program.outputs, want, other, None) for other in again)


def _narrowest(program: Program) -> torch.dtype | None:
    """The type in which a part of the program rounds most, where that is not the program's own."""
    found = {v.dtype for v in shapes(program).values() if narrower(v.dtype, program.dtype)}
    return max((d for d in found if d), key=lambda d: torch.finfo(d).eps, default=None)


def _outputs(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    try:
        with unchanged(module), torch.no_grad():
            result = module(*inputs)
    except SizeRefused:
        raise
    except Exception as error:
        raise DoesNotRun(one_line(error)) from error
    leaves = pytree.tree_leaves(structured(result))
    return [_plain(v) for v in leaves if isinstance(v, Tensor)]


def _plain(value: Any) -> Tensor:
    found: Tensor = value
    return torch.view_as_real(found) if found.is_complex() else found


def _other_kind(names: Sequence[str], want: Sequence[Tensor], got: Sequence[Tensor]) -> str:
    """Which output has another shape or type, if one has."""
    if len(want) != len(got):
        return f"{len(got)} outputs instead of {len(want)}"
    for name, a, b in zip(names, want, got, strict=True):
        if a.shape == b.shape and a.dtype == b.dtype:
            continue
        squeezed = sorted(n for n in a.shape if n != 1) == sorted(n for n in b.shape if n != 1)
        why = " (a squeeze() without a dim?)" if squeezed and a.ndim < b.ndim else ""
        return f"output '{name}' is {_kind(b)} instead of {_kind(a)}{why}"
    return ""


def _far(
    names: Sequence[str], want: Sequence[Tensor], got: Sequence[Tensor], room: float | None
) -> str:
    """Which output differs by more than `room` of its largest value, or by its roundings."""
    for name, a, b in zip(names, want, got, strict=True):
        if not a.numel():
            continue
        one, two = a.double(), b.double()
        gap = (one - two).abs()
        gap[(one == two) | (one.isnan() & two.isnan())] = 0.0
        scale = float(one[one.isfinite()].abs().max()) if bool(one.isfinite().any()) else 0.0
        if a.dtype.is_floating_point:
            most = (ROUNDINGS * torch.finfo(a.dtype).eps if room is None else room) * scale
        else:
            most = 0.0
        worst = float(gap.max())
        if not worst <= most:  # NaN, too
            return f"output '{name}' differs by {worst:.2g} of {scale:.2g}"
    return ""


def _kind(value: Tensor) -> str:
    shape = "x".join(map(str, value.shape)) or "a scalar"
    return f"{shape} {str(value.dtype).removeprefix('torch.')}"
