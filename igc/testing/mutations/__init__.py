"""Every small change of an ONNX model, one at a time: what a check of one has to say no to.

    for name, changed in mutations(model):
        assert not check(changed), name

`of_values` moves numbers (attributes, initialisers), `of_wiring` nodes and what they read,
`of_interface` inputs and outputs, `of_form` what no operator computes with. Most of the models
compute something else or are not valid; some compute the very same in another way.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from igc.testing.mutations.form import of_form
from igc.testing.mutations.interface import of_interface
from igc.testing.mutations.places import Changes
from igc.testing.mutations.values import of_values
from igc.testing.mutations.wiring import of_wiring

KINDS = {
    "value": of_values,
    "wiring": of_wiring,
    "interface": of_interface,
    "form": of_form,
}

__all__ = ["KINDS", "mutations"]


def mutations(
    model: onnx.ModelProto, kinds: tuple[str, ...] = tuple(KINDS)
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The name of each change, and the model so changed; sub-graphs and functions are reached.

    The model is left as it is; each of those that are given is another message.
    """
    before = model.SerializeToString(deterministic=True)
    for kind in kinds:
        changes: Changes = KINDS[kind](model)
        for name, change in changes:
            made = onnx.ModelProto()
            made.CopyFrom(model)
            change(made)
            if made.SerializeToString(deterministic=True) != before:
                yield f"{kind}: {name}", made
