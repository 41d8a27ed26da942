"""Gates as different authors write them: the selection, the mix, and which gates are open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from igc.testing.spec import Shape

# Idioms of phi' = G * phi + (1 - G) * psi. "weight_mask" has no selection: the masks are
# multiplied on the weights and biases of both layers, and their outputs are added.
IDIOMS = ("mul_add", "where", "lerp", "sub_mul", "masked_fill", "weight_mask", "straight_through")
FURTHER = ("addcmul", "stacked", "gather")  # seen in the wild; the pairwise tests leave them out
MASKS = ("sigmoid", "positive", "round", "sign", "argmax", "buffer")  # how a mask is got from alpha
MIXES = ("chain", "stack", "einsum", "buffer")
LETTERS = {"volume": "bcdhw", "image": "bchw", "signal": "bcl", "tokens": "bnc", "vector": "bc"}
PATTERNS = ("open", "closed", "random", "one", "alternating", "cut", "mixed", "exact")


def mask_of(spelling: str, alpha: Tensor) -> Tensor:
    """The bool mask of the open gates, in the given spelling; alpha = 0 is closed in all of them.

    "buffer" takes alpha for the mask itself, stored as 0.0 and 1.0.
    """
    if spelling == "sigmoid":
        return torch.sigmoid(alpha) > 0.5
    if spelling == "positive":
        return ~(alpha <= 0)
    if spelling == "round":
        return torch.round(torch.sigmoid(alpha)).bool()
    if spelling == "sign":
        return torch.sign(alpha) == 1
    if spelling == "argmax":
        return torch.stack([torch.zeros_like(alpha), alpha]).argmax(dim=0) == 1
    if spelling == "buffer":
        return alpha.bool()
    raise ValueError(f"unknown mask {spelling!r}: one of {MASKS}")


def select(
    idiom: str, alpha: Tensor, own: Tensor, shared: Tensor, shape: Shape, spelling: str = "sigmoid"
) -> Tensor:
    """The selected value, written in the given idiom."""
    view = shape.view()
    if idiom == "straight_through" and spelling != "buffer":
        soft = torch.sigmoid(alpha)
        gate = (soft + ((soft > 0.5).to(soft.dtype) - soft).detach()).view(view)
        return gate * own + (1 - gate) * shared
    channels = mask_of(spelling, alpha)
    mask = channels.view(view)
    gate = mask.to(own.dtype)
    forms: dict[str, Callable[[], Tensor]] = {
        "mul_add": lambda: gate * own + (1.0 - gate) * shared,
        "straight_through": lambda: gate * own + (1.0 - gate) * shared,
        "where": lambda: torch.where(mask, own, shared),
        "lerp": lambda: torch.lerp(shared, own, gate),
        "sub_mul": lambda: shared + gate * (own - shared),
        "masked_fill": lambda: own.masked_fill(~mask, 0.0) + shared.masked_fill(mask, 0.0),
        "addcmul": lambda: torch.addcmul(shared, gate, own - shared),
        "stacked": lambda: (
            (torch.stack([shared, own]) * torch.stack([1 - gate, gate])).sum(0)
            if len(view) > 1
            else torch.stack([(1 - gate) * shared, gate * own], dim=1).sum(dim=1)
        ),
        "gather": lambda: torch.cat([shared, own], dim=shape.axis).index_select(
            shape.axis, torch.arange(shape.width) + shape.width * channels.long()
        ),
    }
    if idiom not in forms:
        raise ValueError(f"unknown gate idiom {idiom!r}: one of {IDIOMS + FURTHER}")
    return forms[idiom]()


class Mixer(nn.Module):
    """psi' = sum over tasks of softmax(beta) * phi'; beta is channels x tasks."""

    def __init__(self, form: str, shape: Shape, tasks: int) -> None:
        super().__init__()
        self.form, self.shape = form, shape
        beta = torch.zeros(shape.width, tasks)
        if form == "buffer":
            self.register_buffer("weights", beta)  # filled by `set_weights`
        else:
            self.beta = nn.Parameter(beta)

    def set_weights(self, beta: Tensor) -> None:
        """Takes the logits; the buffer form keeps their softmax only."""
        with torch.no_grad():
            if self.form == "buffer":
                self.weights: Tensor
                self.weights.copy_(torch.softmax(beta, dim=1))
            else:
                self.beta.copy_(beta)

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        share = self.weights if self.form == "buffer" else torch.softmax(self.beta, dim=1)
        view = self.shape.view()
        if self.form in ("chain", "buffer"):
            mixed = share[:, 0].view(view) * values[0]
            for task in range(1, len(values)):
                mixed = mixed + share[:, task].view(view) * values[task]
            return mixed
        stacked = torch.stack(list(values), dim=0)
        if self.form == "stack":
            by_task = share.t().reshape(len(values), *view) if len(view) > 1 else share.t()
            if len(view) == 1:
                by_task = by_task.view(len(values), *([1] * (stacked.ndim - 2)), -1)
            return (stacked * by_task).sum(dim=0)
        letters = {
            "volume": "bcdhw",
            "image": "bchw",
            "signal": "bcl",
            "tokens": "bnc",
            "vector": "bc",
        }
        name = letters[self.shape.kind]
        return torch.einsum(f"t{name},ct->{name}", stacked, share)


def open_gates(
    pattern: str, share: float, widths: Sequence[int], tasks: int, generator: torch.Generator
) -> list[list[Tensor]]:
    """Which gates are open: for each gated node and task a bool vector over the channels."""
    rows = [[_row(pattern, share, width, generator) for _ in range(tasks)] for width in widths]
    if pattern == "cut" and rows:
        node = int(torch.randint(len(rows), (), generator=generator))
        rows[node][int(torch.randint(tasks, (), generator=generator))][:] = False
    return rows


def _row(pattern: str, share: float, width: int, generator: torch.Generator) -> Tensor:
    makers: dict[str, Callable[[], Tensor]] = {
        "open": lambda: torch.ones(width, dtype=torch.bool),
        "closed": lambda: torch.zeros(width, dtype=torch.bool),
        "random": lambda: torch.rand(width, generator=generator) < share,
        "one": lambda: torch.arange(width) == torch.randint(width, (), generator=generator),
        "alternating": lambda: torch.arange(width) % 2 == 0,
    }
    if pattern == "mixed":
        names = list(makers)
        pattern = names[int(torch.randint(len(names), (), generator=generator))]
    if pattern in ("cut", "exact"):
        pattern = "random"
    return makers[pattern]()


def logits(opened: Tensor, pattern: str, generator: torch.Generator) -> Tensor:
    """Gate logits alpha of that sign; for "exact" half of the closed ones are exactly 0."""
    size = 0.1 + 2 * torch.rand(opened.shape, generator=generator)
    alpha = torch.where(opened, size, -size)
    if pattern == "exact":
        half = torch.rand(opened.shape, generator=generator) < 0.5
        alpha = torch.where(~opened & half, torch.zeros(()), alpha)
    return alpha
