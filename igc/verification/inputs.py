"""What a network takes, and the user's own arrays for it; the draws of igc are in `draws`."""

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


@dataclass(frozen=True)
class Draw:
    """One set of inputs and what to call it in a message.

    `optional`: of sizes or values that igc chose. A network may not take them though its shapes do:
    a table of positions can be too short. It is left out then. `once`: run in one way alone.
    `usual`: values as a network expects them, which tell how large its channels are. `flat`: so
    nearly constant that errors of summation do not cancel.
    `spoilt` is the number of the sample that holds NaN or infinity, `clean` the inputs without.
    """

    label: str
    tensors: tuple[Tensor, ...]
    optional: bool = False
    once: bool = False
    usual: bool = False
    flat: bool = False
    spoilt: int | None = None
    clean: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Signature:
    """What a network takes: its inputs, the dynamic sizes to run it at, a bound on integers.

    `other`: image sizes for one more draw, `tiny` those of many more, `twice` twice the main ones;
    each is empty where there are none. `note`: what to say of the sizes; `macs`: of one picture at
    the main sizes; `heavy`: hardly more than one draw has to do, since the network takes no small
    image; `full`: costs do not count.
    """

    inputs: tuple[InputSpec, ...]
    sizes: dict[str, int]
    limits: dict[str, int]
    other: dict[str, int] = field(default_factory=dict)
    note: str = ""
    heavy: bool = False
    tiny: dict[str, int] = field(default_factory=dict)
    twice: dict[str, int] = field(default_factory=dict)
    macs: int = 0
    full: bool = False

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
    main, other, tiny, twice = (
        {k: v for k, v in s.items() if k in used} for s in (at.main, at.other, at.tiny, at.twice)
    )
    heavy = not full and at.macs > HEAVY
    return replace(
        found, sizes=sizes | main, other=other, note=at.note, heavy=heavy,
        tiny=tiny, twice=twice, macs=at.macs, full=full,
    )  # fmt: skip


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


def label(kind: str, tensors: Sequence[Tensor], scale: float = 1.0) -> str:
    """What to call a draw: "random 2x3x8x8 times 30"."""
    text = ", ".join("x".join(map(str, t.shape)) or "scalar" for t in tensors)
    return f"{kind} {text}" + (f" times {scale:g}" if scale != 1.0 else "")


def given_draws(signature: Signature, given: Inputs) -> tuple[list[Draw], list[str]]:
    """The user's arrays, and their first row alone (or twice) as a second batch size; notes.

    Raises `BadInput` where they do not fit.
    """
    tensors = _fit(signature, _tensors(signature, given))
    found, notes = [Draw(label("given", tensors), tensors, usual=True)], []
    batch = signature.batch
    rows = _rows(signature, tensors, batch) if batch is not None else 0
    if rows:
        carries = [bool(s.dims) and s.dims[0] == batch for s in signature.inputs]
        again: Callable[[Tensor], Tensor] = (
            (lambda t: t[:1]) if rows > 1 else (lambda t: torch.cat([t, t.flip(-1)]))
        )
        other = tuple(again(t) if c else t for t, c in zip(tensors, carries, strict=True))
        found.append(Draw(label("given", other), other, usual=True))
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
