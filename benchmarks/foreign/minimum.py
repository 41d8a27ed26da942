"""Is the static network as small as the gradient says? Weights of convolutions and linear layers.

A kernel element is needed iff its gradient is non-zero (`igc.testing.oracle`). On small pictures
the taps at a kernel's border may never meet a pixel, so elements are counted per pair of output
and input channel: a pair is needed iff any of its taps is. Nor does a softmax over the one place
that is left of a small picture need what it weighs: pictures of twice the size are tried as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch
from torch import Tensor, fx, nn

from benchmarks.foreign.shrink import LAYERS
from igc.nn.network import GatedNetwork
from igc.program import Program
from igc.testing.oracle import needed_elements

CONTRACTIONS = ("aten.conv", "aten.linear", "aten.mm", "aten.matmul", "aten.addmm", "aten.bmm")


def needed(
    net: GatedNetwork, backbone: nn.Module, inputs: tuple[Tensor, ...], draws: int,
    program: Program, held: int,
) -> int:  # fmt: skip
    """How many elements of its layers' weights, and of what `program` contracts with, net needs.

    Where that is less than the `held` ones, more inputs are drawn, at twice the size as well.
    """
    weights = sources(program)
    weights |= {
        f"branches.{branch}.{path}.{name}"
        for path, module in backbone.named_modules()
        if isinstance(module, LAYERS)
        for name in ("weight", "in_proj_weight")
        for branch in net.branches
    }
    weights |= {name for name, _ in net.named_parameters() if not name.startswith("branches.")}
    masks = needed_elements(net, inputs, draws=draws)
    for seed in (1, 2):
        if _counted(masks, weights) >= held:
            break
        larger = at_twice_the_size(net, inputs) if seed == 1 else None
        more = needed_elements(net, larger or inputs, draws=draws + 2, seed=seed)
        masks = {name: masks[name] | more[name] for name in masks}
    return _counted(masks, weights)


def sources(program: Program) -> set[str]:
    """The gated network's tensors that the weights of the program's contractions are cut from."""
    known = program.origins
    return {known[n].source if n in known else n for n in _weight_names(program)}


def _counted(masks: dict[str, Tensor], weights: Collection[str]) -> int:
    counted = 0
    for name, mask in masks.items():
        if name in weights:
            taps = mask[0, 0].numel() if mask.ndim > 2 else 1
            pairs = mask.flatten(2).any(2) if mask.ndim > 2 else mask
            counted += int(pairs.sum()) * taps
    return counted


def at_twice_the_size(net: GatedNetwork, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Inputs with pictures twice as high and wide; None where the network does not take them."""
    larger = tuple(
        torch.randn(*x.shape[:2], *(2 * n for n in x.shape[2:]), dtype=x.dtype)
        if x.ndim == 4
        else x
        for x in inputs
    )
    try:
        with torch.no_grad():
            net(*larger)
    except (RuntimeError, ValueError, AssertionError, IndexError):
        return None
    return larger


def held(program: Program, tables: Collection[str] = ()) -> int:
    """How many elements the constant weights of the program's contractions have, each once.

    `tables` are constants that are no parameters: fixed filters, written out per channel.
    """
    origins = program.origins
    return sum(
        program.constants[name].numel()
        for name in _weight_names(program)
        if name not in origins or origins[name].source not in tables
    )


def repeated(program: Program, gated: Program) -> int:
    """How many of them are held again, for another use of a weight that is used in several places.

    Each use is cut to the channels that it needs.
    """
    by_source: dict[str, list[str]] = {}
    for name in _weight_names(program):
        origin = program.origins.get(name)
        if origin is not None and origin.source in gated.constants:
            by_source.setdefault(origin.source, []).append(name)
    again = 0
    for source, names in by_source.items():
        if len(names) > 1:
            mask = torch.zeros(gated.constants[source].shape, dtype=torch.bool)
            for name in names:
                index = program.origins[name].index
                axes = [
                    range(n) if k is None else k for n, k in zip(mask.shape, index, strict=False)
                ]
                mask[np.ix_(*axes, *map(range, mask.shape[len(axes) :]))] = True
            again += sum(program.constants[n].numel() for n in names) - int(mask.sum())
    return again


def _weight_names(program: Program) -> set[str]:
    return {name for node in program.graph.nodes for name in _weights(node)}


def _weights(node: fx.Node) -> Iterator[str]:
    if node.op != "call_function" or not str(node.target).startswith(CONTRACTIONS):
        return
    last = 3 if str(node.target).startswith("aten.addmm") else 2
    for operand in node.args[:last]:
        # A weight may be moved about (transposed, reshaped) before it is read, and one that several
        # layers share is gathered from.
        while isinstance(operand, fx.Node) and operand.op == "call_function":
            readable = operand.all_input_nodes
            if len(readable) != 1 and not str(operand.target).startswith("aten.index_select"):
                break
            operand = readable[0]
        if isinstance(operand, fx.Node) and operand.op == "get_attr":
            yield str(operand.target)
