"""`verify`: the two networks side by side, as the project defines "agrees"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from igc.errors import BadInput
from igc.program.dtypes import without_autocast
from igc.verification.comparison import Comparison
from igc.verification.draws import draws, main_draws, probe
from igc.verification.inputs import Inputs, Signature
from igc.verification.result import Check, group
from igc.verification.runtimes import Network, sides
from igc.verification.side import Memo, Side


@without_autocast()
def verify(
    reference: Network,
    candidate: Network,
    inputs: Inputs = None,
    *,
    only: bool = False,
    tasks: Sequence[str] | None = None,
    full: bool = False,
    memo: Memo | None = None,
) -> Check:
    """Whether `candidate` computes what `reference` computes, output by output.

    Either is a module, a captured `Program`, or the path of a file: `.onnx`, or what `igc.save`
    wrote; the candidate may be a `Compilation`: its folded constants are then compared as they
    were before rounding. `inputs` are tensors in order, a mapping by input name, or the path of
    a `.npz` file. With them or without, the networks are run on the draws of
    `igc.verification.draws`, always the same: random ones at batches of 1 to 9 and several image
    sizes, what pictures hold, constants, samples with NaN; `only` leaves those out. Agreeing on all
    of them is no proof of being equal. Where the network takes any image size and its example's
    would take long, smaller ones are drawn, and where even those take long, fewer, unless `full` is
    set. `tasks` names the outputs that the candidate is meant to have, where it was compiled for
    some tasks only. `memo` is a dictionary that keeps what a torch reference computed: give the
    same one when another candidate is compared with the same reference, and it is not run again.

    Two torch networks are compared in float64, to 1e-10 of each channel's largest value, and in
    their own precision. An ONNX file is checked (full checker, strict shape inference) and run in
    onnxruntime with graph optimisations off and on; what it declares of inputs and outputs has to
    be the reference's (`igc.verification.interface`), and ops whose result runs do not show are
    named (`igc.onnx_files.findings`). Bounds in the own precision come from the error that the
    reference itself makes there against float64 (`igc.verification.bounds`). Outputs are matched in
    declared order, and their names have to be the reference's.

    Raises `BadInput` where the two cannot be compared (unreadable file, inputs that do not fit),
    `Refused` where the reference is stochastic. A difference raises nothing: see `Check.passed`.
    """
    ref, cand = sides(reference, candidate, inputs)
    if ref.exact is not None:
        ref.exact.memo = memo
    signature = _runnable(ref, (cand if ref.exact is None else ref).signature(full))
    sets, notes = draws(signature, inputs, only=only)
    if ref.exact is None:  # it is its ways that tell how exact it is
        sets = [replace(draw, once=False) for draw in sets]
    notes += [*ref.notes(), *ref.company(), *cand.company()]
    keep, failures = _matching(ref, cand, tasks)
    if not memo:
        required = [draw for draw in sets if not draw.optional] or sets
        smallest = min(required, key=lambda draw: sum(t.numel() for t in draw.tensors))
        ref.require_deterministic(smallest.tensors)
    comparison = Comparison(ref, cand, [s.name for s in signature.inputs], keep)
    for side in (ref, cand):
        side.prepare(comparison.input_names, sets)
    for draw in sorted(sets, key=lambda draw: not (draw.once and draw.usual)):
        comparison.add(draw)  # first those that tell cheaply how large each channel usually is
    order = {draw.label: i for i, draw in enumerate(sets)}
    outputs = group(sorted(comparison.ledger.judged(), key=lambda leg: order[leg.inputs]))
    worst = [o.worst for o in outputs.values() if not o.passed]
    if ref.exact is not None:
        points = [draw.tensors for draw in main_draws(signature)]
        failures += [f"{cand.label}: {text}" for text in cand.misdeclared(ref.exact, points)]
    failures += [f"{side.label}: {text}" for side in (ref, cand) for text in side.defects()]
    failures += [leg.describe() for leg in worst] + comparison.ledger.failures
    first = None
    if worst and ref.exact is not None:
        leg = max(worst, key=lambda found: found.strain)
        given = comparison.inputs_of(leg)
        first = cand.first_difference(ref.exact, comparison.input_names, given)
    return Check(
        reference=ref.label,
        candidate=cand.label,
        outputs=outputs,
        failures=tuple(dict.fromkeys(failures)),
        notes=tuple(dict.fromkeys((*notes, *comparison.told(), *ref.idle()))),
        first_difference=first,
        unrun=tuple(comparison.ledger.unrun),
    )


def _runnable(ref: Side, signature: Signature) -> Signature:
    """The signature without its tiny image sizes, where the reference does not run at them."""
    if ref.exact is not None and signature.tiny:
        try:
            with torch.random.fork_rng(devices=[]):
                ref.exact.in_precision(probe(signature), ref.exact.dtype)
        except Exception:  # torch raises many kinds; at other sizes it is told
            return replace(signature, tiny={})
    return signature


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
