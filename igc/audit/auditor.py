"""`audit`: is a compiled model what its manifest says, and is that what the checkpoint says?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from igc.audit.derive import Deriver
from igc.audit.reach import by_graph
from igc.audit.translation.validate import validate
from igc.audit.unread import Unread, count, gate_names, hand_written_gates, left_out, rows
from igc.audit.unused import unused
from igc.certificate.manifest import (
    Certified,
    digest,
    literal,
    read,
    require_bounded,
    tensor_of,
    wiring,
)
from igc.errors import BadInput, one_line
from igc.program import Program
from igc.program.decisions import decisions
from igc.program.recipe import Groups, Recipe, Select, Stored, Take, Transposed, from_data
from igc.verification import verify
from igc.verification.bounds import ulps_apart
from igc.verification.draws import main_draws
from igc.verification.inputs import of_program
from igc.verification.interface import interface_problems

ULPS = 1  # of the stored type: derived in float64, and rounded once or (a sum of mixes) twice
DOUBLE = 4  # ulp where float64 itself is stored
MALFORMED = (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError)


@dataclass
class Audit:
    """The outcome. `failures` is empty where nothing is wrong; counts are of compiled tensors.

    `not_shown` says where the proof stops that the graph computes the gated network, for every
    input; empty where it was shown.
    """

    model: str
    failures: list[str] = field(default_factory=list)
    moved: int = 0
    folded: int = 0
    literal: int = 0
    worst_ulps: float = 0.0
    allowed_ulps: int = ULPS
    left_out: int = 0
    zero: int = 0
    tried: int = 0
    tried_rows: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    gates: list[str] = field(default_factory=list)
    verification: Any = None
    not_shown: str = ""

    @property
    def passed(self) -> bool:
        """Whether the certificate holds: nothing is wrong, and the graph was shown to be right."""
        return not self.failures and not self.not_shown

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"passed": self.passed, **vars(self)}


def audit(model: Path, program: Program, hashes: Mapping[str, str]) -> Audit:
    """Checks the model and its manifest against the gated `program` read from the checkpoint.

    `hashes` holds the SHA-256 of the checkpoint file under "" and the `digest` of each of its
    tensors. Raises `BadInput` where a file cannot be read; what is wrong is told in the result.
    """
    certified = read(model)
    found = Audit(str(model), list(certified.problems))
    manifest = certified.manifest
    found.allowed_ulps = DOUBLE if program.dtype == torch.float64 else ULPS
    found.verification = manifest.get("verification")
    try:
        _checkpoint(manifest, hashes, program, found)
        _wiring(certified, found)
        names = [o.name for o in certified.model.graph.output if o.name in program.outputs]
        found.outputs = names
        given = [draw.tensors for draw in main_draws(of_program(program))]
        found.failures += interface_problems(certified.model.graph, program, given)
        found.failures += unused(certified.model.graph)
        most = require_bounded(certified, program.constants.values())
        deriver = Deriver(program, given[0], manifest["index"], most)
        entries = manifest["tensors"].values()
        deriver.prepare(_recipes(entries))
    except MALFORMED as error:
        raise BadInput(f"{model}: its manifest or outputs do not fit: {one_line(error)}") from error
    _tensors(certified, deriver, found)
    _unread(deriver, program, [program.outputs.index(n) for n in names], found)
    found.failures += verify(program, model, tasks=names).failures
    translation = validate(certified.model, program)
    found.failures += translation.findings
    found.not_shown = translation.stopped
    found.failures = list(dict.fromkeys(found.failures))  # verifying tells of the interface, too
    return found


def _checkpoint(
    manifest: Mapping[str, Any], hashes: Mapping[str, str], program: Program, found: Audit
) -> None:
    stated, read = manifest["checkpoint"], program.constants
    if stated["sha256"] is not None and stated["sha256"] != hashes[""]:
        found.failures.append("hash: the checkpoint is not the file that was compiled")
    ours = {k: v for k, v in hashes.items() if k}
    ours |= {k: digest(v) for k, v in read.items() if k not in ours}
    for name in sorted(stated["tensors"].keys() | read.keys()):
        if stated["tensors"].get(name) != ours.get(name):
            found.failures.append(f"checkpoint tensor '{name}': not the one that was compiled")


def _wiring(certified: Certified, found: Audit) -> None:
    graph, stated = certified.model.graph, list(certified.manifest["model"]["wiring"])
    names = ["inputs and outputs", *(f"node '{n.name}'" for n in graph.node)]
    for name, ours, theirs in zip_longest(names, wiring(graph), stated):
        if ours != theirs:
            found.failures.append(f"wiring: {name or 'a missing node'} is not as certified")
    if graph.sparse_initializer or len(certified.model.functions):
        found.failures.append("wiring: the graph holds more than igc writes")


def _tensors(certified: Certified, deriver: Deriver, found: Audit) -> None:
    stated = dict(certified.manifest["tensors"])
    for proto in certified.model.graph.initializer:
        entry = stated.pop(proto.name, None)
        if entry is None:
            found.failures.append(f"tensor '{proto.name}': not in the manifest")
            continue
        try:
            problem = _tensor(tensor_of(proto), entry, deriver, found)
        except MALFORMED as error:
            problem = f"its entry in the manifest means nothing: {one_line(error)}"
        if problem:
            found.failures.append(f"tensor '{proto.name}': {problem}")
    found.failures += [f"tensor '{n}': in the manifest, not in the model" for n in sorted(stated)]


def _tensor(value: Tensor, entry: Mapping[str, Any], deriver: Deriver, found: Audit) -> str:
    """What is wrong with one tensor, empty where nothing is."""
    problem = "" if digest(value) == entry["sha256"] else "not the bytes that were certified"
    if "numbers" in entry:
        found.literal += 1
        wanted = literal(entry["numbers"], value, deriver.index)
        return problem or ("" if torch.equal(wanted, value) else "not the numbers certified")
    if not entry["from"]:
        return "the manifest does not tell what it is made of"
    recipes = [from_data(data) for data in entry["from"]]
    moved = all(map(_moved, recipes))
    found.moved, found.folded = found.moved + moved, found.folded + (not moved)
    for recipe in recipes:
        derived = deriver.value(recipe).reshape(value.shape)
        if _moved(recipe):
            if digest(derived.to(value.dtype)) != digest(value):
                return "differs from the rows of the checkpoint that it is said to hold"
            continue
        ulps = ulps_apart(derived, value, deriver.program.dtype)
        found.worst_ulps = max(found.worst_ulps, ulps)
        if not ulps <= found.allowed_ulps:
            return f"{ulps:.3g} ulp from what the checkpoint gives, {found.allowed_ulps} allowed"
    return problem


def _unread(deriver: Deriver, program: Program, chosen: list[int], found: Audit) -> None:
    """Whether the elements that no tensor of the model depends on are left out rightly.

    Those that the graph alone does not show to be unread are tried out.
    """
    deriver.finish()
    by_constants = decisions(program)
    taken, inputs = by_constants.program, deriver.inputs
    out = left_out(taken, program, deriver.held)
    gates = hand_written_gates(by_constants, program, deriver.factors, out)
    argued = by_graph(taken, out, gates, chosen, inputs)
    found.gates = sorted(gate_names(program) | argued.given)
    found.left_out, found.zero = count(argued.out), count(argued.zero)
    found.tried, found.tried_rows = count(argued.open), {n: rows(m) for n, m in argued.open.items()}
    if argued.open:
        for n, mask in Unread(taken, argued.open, chosen, inputs).culprits().items():
            some = f"some of the {int(argued.out[n].sum())} elements left out"
            found.failures.append(f"checkpoint tensor '{n}': an output reads {some}: {rows(mask)}")


def _recipes(entries: Iterable[Any]) -> Iterator[Recipe]:
    """The recipes of a manifest; what is none is told when its tensor's turn comes."""
    for entry in entries:
        for data in entry.get("from", ()):
            with contextlib.suppress(*MALFORMED):
                yield from_data(data)


def _moved(recipe: Recipe) -> bool:
    """Whether it only moves entries about."""
    if isinstance(recipe, (Take, Transposed, Groups, Select)):
        return _moved(recipe.of)
    return isinstance(recipe, Stored)
