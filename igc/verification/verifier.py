"""`verify`: the two networks side by side, as the project defines "agrees"."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from torch import Tensor, nn

from igc.errors import BadInput
from igc.program import Program
from igc.program.compilation import Compilation
from igc.program.health import finite_notes
from igc.verification.comparison import Comparison
from igc.verification.diverge import first_difference
from igc.verification.diverge_onnx import first_onnx_difference
from igc.verification.inputs import Inputs, Signature, as_tensors, draws, of_program
from igc.verification.onnx_side import OnnxFile
from igc.verification.result import Check, Leg, group
from igc.verification.torch_side import (
    Memo,
    Network,
    Side,
    TorchSide,
    module_side,
    path_side,
    require_deterministic,
)


def verify(
    reference: Network,
    candidate: Network,
    inputs: Inputs = None,
    *,
    tasks: Sequence[str] | None = None,
    full: bool = False,
    memo: Memo | None = None,
) -> Check:
    """Whether `candidate` computes what `reference` computes, output by output.

    Either is a module, a captured `Program`, or the path of a file: `.onnx`, or what `igc.save`
    wrote; the candidate may be a `Compilation`: its folded constants are then compared as they
    were before rounding. `inputs` are tensors in order, a mapping by input name, or the path of
    a `.npz` file; by default fixed random draws at two batch sizes (and two image sizes where the
    network takes them), one of large scale. Where the network takes any image size and its
    example's would take long, smaller ones are drawn, unless `full` is set. `tasks` names the
    outputs that the candidate is meant to have, where it was compiled for some tasks only. `memo`
    is a dictionary that keeps what a torch reference computed: give the same one when another
    candidate is compared with the same reference, and it is not run again.

    Two torch networks are compared in float64, to 1e-10 of each output's largest value, and in
    their own precision. An ONNX file is checked (full checker, strict shape inference) and run in
    onnxruntime with graph optimisations off and on. Bounds in the own precision come from the
    error that the reference itself makes there against float64 (`igc.verification.bounds`).
    Outputs are matched in declared order, and their names have to be the reference's.

    Raises `BadInput` where the two cannot be compared (unreadable file, inputs that do not fit),
    `Refused` where the reference is stochastic. A difference raises nothing: see `Check.passed`.
    """
    ref, cand = _sides(reference, candidate, inputs)
    if isinstance(ref, TorchSide):
        ref.memo = memo
    signature = _signature(ref, cand, full)
    sets, notes = draws(signature, inputs)
    if isinstance(ref, TorchSide):
        notes += finite_notes(ref.program)
    keep, failures = _matching(ref, cand, tasks)
    if isinstance(ref, TorchSide) and not memo:
        smallest = min(sets, key=lambda draw: sum(t.numel() for t in draw.tensors))
        require_deterministic(ref, smallest.tensors)
    comparison = Comparison(ref, cand, [s.name for s in signature.inputs], keep)
    for side in (ref, cand):
        if isinstance(side, OnnxFile):
            side.run_all(comparison.input_names, sets)
    for draw in sets:
        comparison.add(draw)
    outputs = group(comparison.judged())
    worst = [o.worst for o in outputs.values() if not o.passed]
    failures += _defects(ref, cand) + [_describe(leg) for leg in worst] + comparison.failures
    first = None
    if worst:
        leg = max(worst, key=lambda found: found.strain)
        first = _locate(ref, cand, comparison.inputs_of(leg), signature)
    return Check(
        reference=ref.label,
        candidate=cand.label,
        outputs=outputs,
        failures=tuple(dict.fromkeys(failures)),
        notes=tuple(dict.fromkeys((*notes, *comparison.notes))),
        first_difference=first,
    )


def _sides(reference: Network, candidate: Network, inputs: Inputs) -> tuple[Side, Side]:
    """Both sides; a module that carries no program is captured with what the other side takes."""
    known: dict[str, Side] = {}
    given = {"reference": reference, "candidate": candidate}
    for role, network in given.items():
        if isinstance(network, Compilation):
            known[role] = TorchSide("the static network", network.program, network.static)
        elif isinstance(network, Program):
            known[role] = TorchSide(f"{role} program", network)
        elif isinstance(network, (str, PathLike)):
            known[role] = path_side(network, role)
        elif not isinstance(network, nn.Module):
            raise BadInput(
                f"verify: the {role} is a {type(network).__name__}; give a module or a path"
            )
        elif isinstance(getattr(network, "program", None), Program):
            known[role] = module_side(network, role, None)
    for role in [r for r in given if r not in known]:
        network = given[role]
        assert isinstance(network, nn.Module)
        known[role] = module_side(network, role, _example(known, inputs))
    return known["reference"], known["candidate"]


def _example(known: dict[str, Side], inputs: Inputs) -> Sequence[Tensor] | None:
    if inputs is not None:
        return as_tensors(inputs)[1]
    for side in known.values():
        return draws(_signature_of(side), None)[0][0].tensors
    return None


def _signature_of(side: Side, full: bool = False) -> Signature:
    return of_program(side.program, full) if isinstance(side, TorchSide) else side.signature


def _signature(ref: Side, cand: Side, full: bool) -> Signature:
    return _signature_of(ref if isinstance(ref, TorchSide) else cand, full)


def _defects(*sides: Side) -> list[str]:
    return [f"{s.path}: {text}" for s in sides if isinstance(s, OnnxFile) for text in s.defects()]


def _matching(ref: Side, cand: Side, tasks: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """Which of the reference's outputs to compare with the candidate's in order; what is wrong."""
    unknown = [t for t in tasks or () if t not in ref.names]
    if unknown:
        raise BadInput(
            f"verify: no output '{unknown[0]}'; the reference has {', '.join(ref.names)}"
        )
    wanted = [n for n in ref.names if tasks is None or n in tasks]
    got = list(cand.names)
    listed = f"the reference has {', '.join(wanted)}; the candidate has {', '.join(got)}"
    if got == wanted:
        problem = []
    elif sorted(got) == sorted(wanted):
        problem = [f"output order: {listed}"]
    else:
        problem = [f"output names: {listed}"]
    if len(got) != len(wanted) and set(got) <= set(ref.names):
        wanted = got
    return [ref.names.index(n) for n in wanted], problem


def _locate(ref: Side, cand: Side, inputs: Sequence[Tensor], signature: Signature) -> str | None:
    """The first layer that diverges, where both sides let their insides be seen."""
    if not isinstance(ref, TorchSide):
        return None
    if isinstance(cand, OnnxFile):
        names = [spec.name for spec in signature.inputs]
        return first_onnx_difference(ref.decided, cand, names, inputs)
    rounded = cand.changed or cand.rounded
    return first_difference(ref.decided, cand.decided, inputs, rounded=rounded)


def _describe(leg: Leg) -> str:
    if leg.problem:
        return f"output '{leg.output}' ({leg.way}, {leg.inputs}): {leg.problem}"
    return (
        f"output '{leg.output}' ({leg.way}, {leg.inputs}): "
        f"differs by {leg.max_abs:.2e} where {leg.bound:.2e} is allowed"
    )
