"""What a set of generated networks was made of, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from igc.testing.builder import RETURNS
from igc.testing.gating import FURTHER, IDIOMS, MASKS, MIXES, PATTERNS
from igc.testing.heads import HEADS
from igc.testing.layers import ACTS, NORMS
from igc.testing.spec import KINDS, WEIGHTS, Spec
from igc.testing.units import UNITS

# Everything that a spec can say, by what it is called in a summary.
ALL: dict[str, tuple[str, ...]] = {
    "inputs": KINDS,
    "layers": tuple(UNITS),
    "norms": tuple(n for n in NORMS if n),
    "activations": tuple(a for a in ACTS if a),
    "gate idioms": IDIOMS + FURTHER,
    "masks": MASKS,
    "mixes": MIXES,
    "gate patterns": PATTERNS,
    "weights": WEIGHTS,
    "heads": tuple(HEADS),
    "outputs": RETURNS,
    "tasks": tuple(str(n) for n in range(1, 9)),
}


def features(spec: Spec) -> dict[str, set[str]]:
    """What the network of `spec` has of each line of `ALL`."""
    return {
        "inputs": {spec.kind},
        "layers": {n.op for n in spec.nodes},
        "norms": {n.norm for n in spec.nodes if n.norm},
        "activations": {n.act for n in spec.nodes if n.act},
        "gate idioms": {n.gate for n in spec.nodes if n.gate},
        "masks": {spec.mask},
        "mixes": {spec.mix},
        "gate patterns": {spec.pattern},
        "weights": {spec.weights},
        "heads": {h.op for h in spec.heads},
        "outputs": {spec.returns},
        "tasks": {str(spec.tasks)},
    }


def count(specs: Iterable[Spec]) -> dict[str, Counter[str]]:
    """In how many networks each thing occurs; what occurs in none counts 0."""
    counts = {line: Counter(dict.fromkeys(names, 0)) for line, names in ALL.items()}
    for spec in specs:
        for line, names in features(spec).items():
            counts[line].update(names)
    return counts
