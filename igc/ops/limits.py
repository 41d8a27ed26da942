"""Where a rule asks for more than the outputs depend on, and why.

Everywhere else a rule is exact: what it says is read does move the output, and an axis that it
keeps whole mixes its entries. Tests hold every rule to that over generated calls.
"""

from __future__ import annotations

LIMITS: dict[str, str] = {
    "windows": (
        "Convolution, pooling, resizing, unfolding and padding keep height and width whole, "
        "whatever the kernel and stride: a cut image has other borders."
    ),
    "groups": (
        "A grouped kernel is a rectangle: live groups keep equal numbers of inputs and outputs. "
        "Where the weight is computed from an input, all groups stay."
    ),
    "blocks": (
        "A group norm keeps or drops whole groups, with their scale and shift, since the "
        "statistics are those of the group."
    ),
    "pixels": "Pixel shuffle and unshuffle keep height and width whole, as with windows.",
    "reshape": (
        "Axes that a reshape regroups many to many, (4, 6) to (6, 4), stay whole; an axis merged "
        "from several is kept as a rectangle of them."
    ),
    "coefficients": (
        "A constant factor or mask is looked into where it varies along one axis and the other "
        "operands have the result's shape; of one that varies along several, channels that are "
        "zero throughout are known. Logical and bitwise ops do not look into constants."
    ),
    "zero scale": (
        "A scale of exactly zero is used in batch and instance norms with a known shift; layer and "
        "group norms read what they normalise. Zero weights with a computed bias read one channel, "
        "for its sizes."
    ),
    "causal": "Causal attention keeps all tokens: it matters which of them comes first.",
    "masked tokens": "A mask is not looked into for tokens that no query may see.",
    "shared heads": "Heads of queries that share the heads of keys stay whole.",
    "bound": "A slice up to a bound that the input chooses reads its axis whole.",
    "table": "Indexing with a table, or along several axes, reads the indexed axes whole.",
    "several axes": "Flips and rolls of several axes at once keep them whole; capture splits them.",
    "repeat": "What is repeated along several axes, or a number of times that the input chooses, "
    "stays whole along them.",
    "dynamic": "An axis whose size the input chooses is never cut.",
}  # fmt: skip

OPAQUE: dict[str, str] = {
    "training": "Norms in training mode change their statistics, attention with dropout is random.",
    "flat": "A roll or a repetition of the flattened tensor crosses all axes.",
    "squeezed": "A squeeze of an axis that is not always of size one; capture leaves none.",
    "chosen": "A convolution of as many groups as the input says keeps all of them.",
    "crossed": "A reshape whose axes are matched only by sizes that the input chooses.",
}
"""What no relation describes: the rule answers `Opaque`, and everything is kept."""
