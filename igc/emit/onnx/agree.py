"""Whether a written file computes, output by output, what the static network computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igc.analysis.image_sizes import HEAVY, image_sizes
from igc.errors import BadInput, CheckFailed, IgcError, one_line
from igc.onnx_files.approximations import Approximated
from igc.program import InputSpec, Program
from igc.program.execute import execute

Runner = Callable[[Mapping[str, Tensor]], Sequence[Tensor]]

MULTIPLE = 32.0  # of the program's own rounding error: another order of summation stays below
BUDGET = 1_000_000_000  # MACs per picture
FLOOR = 256.0  # machine epsilons, for networks so short that they hardly round at all
APPROXIMATED = 2  # runs with such functions, where a file is off by more
FLOOR_HALF = 4.0  # the same in half precision, where 256 epsilons would be a quarter of the value


@dataclass(frozen=True)
class Sample:
    """Inputs, the outputs expected for them, and how far off each may be (absolute)."""

    inputs: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]
    bounds: tuple[float, ...]


def samples(program: Program) -> list[Sample]:
    """Random inputs and what `program` makes of them, at one or, where it is dynamic, two batches.

    An output may be off by `MULTIPLE` times the rounding error that the program itself shows in
    its own precision against float64 (on a batch of one, which is quick), and by `FLOOR` machine
    epsilons (`FLOOR_HALF` in half precision) of its largest value in any case. Networks that take
    any image size are run at a small one, the largest of those that do not on one batch only.
    """
    batches = {s.dims[0] for s in program.inputs if s.dims} & set(program.sizes)
    batch = str(next(iter(batches))) if batches else None
    at = image_sizes(program, batch, full=False, budget=BUDGET)
    counts = (0,) if not batches else (2,) if at.macs > HEAVY else (1, 3)
    points = [{**program.sizes, **at.main, **dict.fromkeys(batches, n)} for n in counts]
    generator = torch.Generator().manual_seed(0)
    found: list[Sample] = []
    errors: list[float] = []
    for sizes in points:
        inputs = tuple(_random(spec, sizes, generator) for spec in program.inputs)
        own = _run(program, inputs, None)
        if not errors:
            exact = _run(program, inputs, torch.float64)
            errors = [_error(a, b) for a, b in zip(own, exact, strict=True)]
        bounds = tuple(_bound(v, e) for v, e in zip(own, errors, strict=True))
        found.append(Sample(inputs, tuple(own), bounds))
    return found


def _run(program: Program, inputs: Sequence[Tensor], dtype: torch.dtype | None) -> list[Tensor]:
    """The outputs; `BadInput` where the network does not run (operands of two types, say)."""
    try:
        with torch.no_grad():
            return list(execute(program, inputs, dtype=dtype))
    except IgcError:
        raise
    except Exception as error:  # torch raises many kinds
        reason = one_line(error)
        raise BadInput(f"the network does not run: {reason}") from error


def _approximated(program: Program, sample: Sample) -> Sample:
    """The sample with bounds for functions that are only as exact as onnxruntime's."""
    bounds = list(sample.bounds)
    for seed in range(APPROXIMATED):
        with Approximated(seed):
            found = _run(program, sample.inputs, None)
        for i, (value, want) in enumerate(zip(found, sample.expected, strict=True)):
            if want.dtype.is_floating_point:
                bounds[i] = max(bounds[i], MULTIPLE * _largest(value.double() - want.double()))
    return replace(sample, bounds=tuple(bounds))


def _random(spec: InputSpec, sizes: dict[str, int], generator: torch.Generator) -> Tensor:
    shape = spec.shape(sizes)
    if spec.dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(spec.dtype)
    return torch.randint(0, 2, shape, generator=generator).to(spec.dtype)


def _largest(value: Tensor) -> float:
    """The largest finite magnitude."""
    finite = value.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return finite.abs().max().item() if value.numel() else 0.0


def _error(own: Tensor, exact: Tensor) -> float:
    """The largest rounding error, relative to the largest value."""
    return _largest(own.double() - exact.double()) / (_largest(exact) or 1.0)


def _bound(own: Tensor, error: float) -> float:
    if not own.dtype.is_floating_point:
        return 0.0
    floor = FLOOR_HALF if own.dtype in (torch.float16, torch.bfloat16) else FLOOR
    return (MULTIPLE * error + floor * torch.finfo(own.dtype).eps) * _largest(own)


def disagreement(run: Runner, names: Sequence[str], program: Program, sample: Sample) -> str | None:
    """What is wrong with the outputs of `run`, or None where they agree with the sample.

    Outputs are compared one by one under their names: values, shape and dtype.
    """
    feed = {spec.name: x for spec, x in zip(program.inputs, sample.inputs, strict=True)}
    results = run(feed)
    for name, got, want, bound in zip(names, results, sample.expected, sample.bounds, strict=True):
        if got.shape != want.shape or got.dtype != want.dtype:
            return (
                f"output '{name}' is {tuple(got.shape)} {got.dtype}, "
                f"expected {tuple(want.shape)} {want.dtype}"
            )
        if not want.numel():
            continue
        error = (got.double() - want.double()).abs()
        alike = (got == want) | (got.isnan() & want.isnan())  # infinities have no difference
        worst = error.masked_fill(alike, 0.0).nan_to_num(nan=torch.inf).max().item()
        if not worst <= bound:
            return f"output '{name}' differs by {worst:.3g}, allowed {bound:.3g}"
    return None


def require_agreement(
    run: Runner, names: Sequence[str], program: Program, chosen: Sequence[Sample], what: str
) -> None:
    """Raises `CheckFailed` with the first disagreement beyond what the runtime approximates."""
    for sample in chosen:
        wrong = disagreement(run, names, program, sample)
        if wrong is not None:
            wrong = disagreement(run, names, program, _approximated(program, sample))
        if wrong is not None:
            raise CheckFailed(f"{what} does not compute what the static network does: {wrong}")
