"""What the networks are fed: random draws at several sizes, or the user's own arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igc.analysis.image_sizes import HEAVY, image_sizes
from igc.errors import BadInput
from igc.program import InputSpec, Program
from igc.program.schema import op_name
from igc.verification.npz import read_npz

Inputs = Tensor | Sequence[Any] | Mapping[str, Any] | str | PathLike[str] | None

SEED = 20240722
LARGE = {torch.float16: 4.0, torch.bfloat16: 4.0}
LARGE_DEFAULT = 30.0


@dataclass(frozen=True)
class Draw:
    """One set of inputs and what to call it in a message.

    `resized`: at image sizes that igc chose. A network may not take them though its shapes do: a
    table of positions can be too short. It is left out then.
    """

    label: str
    tensors: tuple[Tensor, ...]
    resized: bool = False


@dataclass(frozen=True)
class Signature:
    """What a network takes: its inputs, the dynamic sizes to run it at, a bound on integers.

    `other`: image sizes for one more draw; `note`: what to say of the sizes; `heavy`: one draw has
    to do, since the network takes no small image.
    """

    inputs: tuple[InputSpec, ...]
    sizes: dict[str, int]
    limits: dict[str, int]
    other: dict[str, int] = field(default_factory=dict)
    note: str = ""
    heavy: bool = False

    @property
    def batch(self) -> str | None:
        """The name of the dynamic batch size, if the batch is dynamic."""
        for spec in self.inputs:
            if spec.dims and isinstance(spec.dims[0], str):
                return spec.dims[0]
        return None


def of_program(program: Program, full: bool = False, budget: int | None = None) -> Signature:
    """The signature of a captured network, `full`: at its example's size, however long it takes.

    `budget`: the MACs per picture above which a smaller size is taken, if not as usual.
    """
    used = {dim for spec in program.inputs for dim in spec.dims}
    sizes = {name: size for name, size in program.sizes.items() if name in used}
    found = Signature(program.inputs, sizes, _limits(program))
    at = image_sizes(program, found.batch, full, budget)
    main, other = ({k: v for k, v in s.items() if k in used} for s in (at.main, at.other))
    heavy = not full and at.macs > HEAVY
    return replace(found, sizes=sizes | main, other=other, note=at.note, heavy=heavy)


def _limits(program: Program) -> dict[str, int]:
    """For each integer input, how many rows the smallest table has that it indexes (default 2)."""
    limits = {}
    for node, spec in zip(program.placeholders, program.inputs, strict=True):
        rows = [
            int(program.constants[str(user.args[0].target)].shape[0])
            for user in node.users
            if "embedding" in op_name(user)
            and isinstance(user.args[0], torch.fx.Node)
            and user.args[0].op == "get_attr"
        ]
        limits[spec.name] = min(rows, default=2)
    return limits


def draws(signature: Signature, given: Inputs) -> tuple[list[Draw], list[str]]:
    """The sets of inputs to run, and notes on what could not be varied.

    Without `given`, always the same ones: standard normal at batch 2, of large scale at batch 1,
    and standard normal at another image size where the network takes one, odd and oblong if it
    takes that; the first alone for a network that takes long and no smaller image.
    With `given`: those arrays, and their first row alone (or twice) as a second batch size.
    """
    if given is not None:
        return _given(signature, given)
    batch = signature.batch
    notes = [signature.note] if signature.note else []
    if batch is None:
        notes.append("the batch size is fixed, so a second one was not run")
    if signature.heavy:
        notes.append(
            "run on one set of inputs, as the network takes long at the only image size it takes "
            "(all of them: full=True, --full-size)"
        )
    plain = dict(signature.sizes) | ({batch: 2} if batch is not None else {})
    single = plain | ({batch: 1} if batch is not None else {})
    wide = next((LARGE[s.dtype] for s in signature.inputs if s.dtype in LARGE), LARGE_DEFAULT)
    found = [_random(signature, plain, 1.0, 0)]
    if signature.heavy:
        return found, notes
    found.append(_random(signature, single, wide, 1))
    doubled = {k: 2 * v for k, v in single.items() if k != batch}
    images = signature.other or doubled  # capture has checked that the network takes twice
    if images:
        found.append(replace(_random(signature, single | images, 1.0, 2), resized=True))
    return found, notes


def quick_draws(signature: Signature) -> list[Draw]:
    """Standard normal at batches of 2 and of 1; the first alone where that has to do."""
    batch = signature.batch
    counts = (2, 1) if batch is not None and not signature.heavy else (2,)
    points = [signature.sizes | ({} if batch is None else {batch: n}) for n in counts]
    return [_random(signature, sizes, 1.0, i) for i, sizes in enumerate(points)]


def _random(signature: Signature, sizes: dict[str, int], scale: float, index: int) -> Draw:
    generator = torch.Generator().manual_seed(SEED + index)
    tensors = []
    for spec in signature.inputs:
        shape = spec.shape(sizes)
        if spec.dtype.is_floating_point:
            value = (torch.randn(shape, generator=generator, dtype=torch.float32) * scale).to(
                spec.dtype
            )
        else:
            high = 2 if spec.dtype == torch.bool else signature.limits.get(spec.name, 2)
            value = torch.randint(0, max(1, high), shape, generator=generator).to(spec.dtype)
        tensors.append(value)
    return Draw(_label("random", tensors, scale), tuple(tensors))


def _label(kind: str, tensors: Sequence[Tensor], scale: float = 1.0) -> str:
    text = ", ".join("x".join(map(str, t.shape)) or "scalar" for t in tensors)
    return f"{kind} {text}" + (f" times {scale:g}" if scale != 1.0 else "")


def _given(signature: Signature, given: Inputs) -> tuple[list[Draw], list[str]]:
    tensors = _fit(signature, _tensors(signature, given))
    found, notes = [Draw(_label("given", tensors), tensors)], []
    batch = signature.batch
    rows = _rows(signature, tensors, batch) if batch is not None else 0
    if rows:
        carries = [bool(s.dims) and s.dims[0] == batch for s in signature.inputs]
        again: Callable[[Tensor], Tensor] = (
            (lambda t: t[:1]) if rows > 1 else (lambda t: torch.cat([t, t.flip(-1)]))
        )
        other = tuple(again(t) if c else t for t, c in zip(tensors, carries, strict=True))
        found.append(Draw(_label("given", other), other))
    else:
        notes.append("the batch size is fixed, so a second one was not run")
    return found, notes


def _rows(signature: Signature, tensors: tuple[Tensor, ...], batch: str) -> int:
    sizes = {
        t.shape[0]
        for s, t in zip(signature.inputs, tensors, strict=True)
        if s.dims and s.dims[0] == batch
    }
    if len(sizes) > 1:
        raise BadInput(f"inputs of batch sizes {sorted(sizes)}; give every input the same one")
    return int(sizes.pop())


def as_tensors(given: Inputs) -> tuple[list[str | None], list[Tensor]]:
    """The names (where known) and tensors that the user gave; raises `BadInput`."""
    if isinstance(given, (str, PathLike)):
        given = read_npz(given)
    if isinstance(given, (Tensor, np.ndarray)):
        given = (given,)
    if isinstance(given, Mapping):
        return [str(name) for name in given], [_tensor(str(k), v) for k, v in given.items()]
    if not isinstance(given, Sequence) or not given:
        raise BadInput(f"inputs: give tensors or a .npz file, got {type(given).__name__}")
    return [None] * len(given), [_tensor(f"[{i}]", v) for i, v in enumerate(given)]


def _tensors(signature: Signature, given: Inputs) -> list[Tensor]:
    names, tensors = as_tensors(given)
    wanted = [spec.name for spec in signature.inputs]
    if len(tensors) != len(wanted):
        raise BadInput(
            f"the network takes {len(wanted)} inputs ({', '.join(wanted)}), got {len(tensors)}"
        )
    if None not in names and set(names) == set(wanted):
        return [tensors[names.index(name)] for name in wanted]
    return tensors


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        return torch.from_numpy(np.ascontiguousarray(value))
    except (TypeError, ValueError) as error:
        raise BadInput(f"input {name}: not an array of numbers: {error}") from error


def _fit(signature: Signature, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    fitted = []
    for spec, tensor in zip(signature.inputs, tensors, strict=True):
        want = "x".join(map(str, spec.dims))
        fits = tensor.ndim == len(spec.dims) and all(
            isinstance(d, str) or d == n for d, n in zip(spec.dims, tensor.shape, strict=True)
        )
        if not fits or math.prod(tensor.shape) == 0:
            raise BadInput(
                f"input '{spec.name}': shape {'x'.join(map(str, tensor.shape))} does not fit {want}"
            )
        if tensor.dtype.is_floating_point != spec.dtype.is_floating_point:
            raise BadInput(
                f"input '{spec.name}': type {tensor.dtype}, the network takes {spec.dtype}"
            )
        if not bool(tensor.isfinite().all()):
            raise BadInput(f"input '{spec.name}': holds NaN or infinity; give finite numbers")
        fitted.append(tensor.to(spec.dtype))
    return tuple(fitted)
