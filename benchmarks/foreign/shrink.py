"""Large networks made small enough for a machine of 2 cores: fewer repeated blocks, narrow layers.

What is left out is of the same kind and the same widths as what is kept, and every change is
named in the note that goes into the table.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

KEPT = 1  # of consecutive blocks of one class whose tensors have the same shapes
WHOLE = 24  # networks of no more layers than this keep all their blocks
WIDE = 4096  # hidden layers of a classifier this wide are narrowed
NARROW = 256
LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.MultiheadAttention,
)  # fmt: skip


def shortened(net: nn.Module, inputs: tuple[Tensor, ...], kept: int = KEPT) -> str:
    """Takes blocks out of `net`, as long as it still runs on `inputs`; returns the note, or "".

    Of each run of more than `kept` equal blocks in a list of modules, the first `kept` stay.
    Networks of `WHOLE` layers or fewer are left as they are, and `kept` 0 leaves all as they are.
    """
    if not kept or sum(isinstance(m, LAYERS) for m in net.modules()) <= WHOLE:
        return ""
    before = after = 0
    for blocks in _lists(net):
        whole = dict(blocks._modules)
        chosen = _chosen(blocks, kept)
        if len(chosen) == len(whole):
            continue
        _keep(blocks, chosen)
        try:
            with torch.no_grad():
                net.eval()(*inputs)
        except Exception:  # this network counts its blocks: they all stay
            blocks._modules = whole
        else:
            before, after = before + len(whole), after + len(chosen)
    return f"{after} of {before} repeated blocks" if before else ""


def narrowed(net: nn.Module) -> str:
    """Narrows the hidden layers of a classifier of `WIDE` channels; returns the note.

    Linear ones, and convolutions that stand for them.
    """
    found = False
    for layer in net.modules():
        plain = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        if not plain or WIDE not in layer.weight.shape[:2]:
            continue
        found = True
        rows, columns = (NARROW if n == WIDE else n for n in layer.weight.shape[:2])
        layer.weight = nn.Parameter(layer.weight.detach()[:rows, :columns].clone())
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[:rows].clone())
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = rows, columns
        else:
            layer.out_channels, layer.in_channels = rows, columns
    return f"classifier of {NARROW} channels" if found else ""


def _lists(net: nn.Module) -> Iterator[nn.Module]:
    """Lists of modules, the outer ones first; those inside blocks taken out are not visited."""
    for child in net.children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield child
        yield from _lists(child)


def _chosen(blocks: nn.Module, kept: int) -> list[tuple[str, nn.Module]]:
    chosen: list[tuple[str, nn.Module]] = []
    last, count = None, 0
    for name, block in blocks.named_children():
        shapes = tuple(tuple(t.shape) for t in block.state_dict().values())
        kind = (type(block), shapes)
        count = count + 1 if kind == last else 1
        last = kind
        if count <= kept or not shapes:
            chosen.append((name, block))
    return chosen


def _keep(blocks: nn.Module, chosen: list[tuple[str, nn.Module]]) -> None:
    numbered = isinstance(blocks, nn.ModuleList)
    blocks._modules = {str(i) if numbered else n: b for i, (n, b) in enumerate(chosen)}
