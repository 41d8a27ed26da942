"""The labels of a people emoji, read off its Unicode sequence alone.

Names follow CLDR's English short names (the code points' own names are older and often say "man"
for a picture that vendors draw without gender).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

# Metadata group -> the demo's "kind" label. Resting has five concepts only: joined to activity.
KIND_OF = {
    "person": "person",
    "person-gesture": "gesture",
    "person-role": "role",
    "person-fantasy": "fantasy",
    "person-activity": "activity",
    "person-resting": "activity",
    "person-sport": "sport",
}
KINDS = ("person", "gesture", "role", "fantasy", "activity", "sport")
GENDERS = ("man", "woman", "unspecified")
# Skin-tone modifiers; "" is the sequence without one, drawn in yellow.
TONES = ("", "1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")
TONE_NAMES = ("none", "light", "medium-light", "medium", "medium-dark", "dark")
HELD_OUT = 23  # concepts

PRESENTATION, ZWJ, WOMAN_SIGN, MAN_SIGN = "FE0F", "200D", "2640", "2642"
ADULT = "1F9D1"
# Sequences that are gendered by their first code point.
MEN = {"1F468", "1F466", "1F474", "1F934", "1F385", "1F57A", "1FAC3"}
WOMEN = {"1F469", "1F467", "1F475", "1F478", "1F936", "1F483", "1F930", "1F9D5"}
# One concept spelled with several code points: child, older adult, crown, Claus, dancing,
# pregnant, feeding a baby. Splitting them would leak pictures between training and held-out.
SAME = {
    "1F466": "1F9D2",
    "1F467": "1F9D2",
    "1F474": "1F9D3",
    "1F475": "1F9D3",
    "1F934": "1FAC5",
    "1F478": "1FAC5",
    "1F385": f"{ADULT}-{ZWJ}-1F384",
    "1F936": f"{ADULT}-{ZWJ}-1F384",
    "1F57A": "1F483",
    "1F930": "1FAC4",
    "1FAC3": "1FAC4",
    "1F931": f"{ADULT}-{ZWJ}-1F37C",
}


def _points(unified: str) -> list[str]:
    return [p for p in unified.split("-") if p != PRESENTATION and p not in TONES]


def gender_of(unified: str) -> str:
    """Returns how the sequence asks the person to be presented: one of `GENDERS`."""
    points = _points(unified)
    if WOMAN_SIGN in points or points[0] in WOMEN:
        return "woman"
    if MAN_SIGN in points or points[0] in MEN:
        return "man"
    return "unspecified"


def concept_key(unified: str) -> str:
    """Returns the sequence of the concept: without gender, skin tone and presentation."""
    points = _points(unified)
    if points[-1] in (WOMAN_SIGN, MAN_SIGN):
        points = points[:-2]
    if points[0] in ("1F468", "1F469"):
        points[0] = ADULT
    key = "-".join(points)
    return SAME.get(key, key)


def held_out(kind_of_concept: Mapping[str, str]) -> set[str]:
    """Returns the held-out concepts: `HELD_OUT` of them, shared out over the kinds in proportion.

    Within a kind the concepts with the smallest SHA-256 of their key are taken, so the choice
    depends on nothing but the concepts' names. Largest remainders fill the last places.
    """
    sizes = Counter(kind_of_concept.values())
    total = len(kind_of_concept)
    places = {kind: HELD_OUT * size // total for kind, size in sizes.items()}
    by_remainder = sorted(KINDS, key=lambda kind: (-(HELD_OUT * sizes[kind] % total), kind))
    for kind in by_remainder[: HELD_OUT - sum(places.values())]:
        places[kind] += 1
    chosen: set[str] = set()
    for kind, count in places.items():
        keys = [key for key, its_kind in kind_of_concept.items() if its_kind == kind]
        keys.sort(key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        chosen.update(keys[:count])
    return chosen
