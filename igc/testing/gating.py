"""Gates as different authors write them: the selection, the mix, and which gates are open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from igc.testing.spec import Shape

# Idioms of phi' = G * phi + (1 - G) * psi. "weight_mask" has no selection: the masks are
# multiplied on the weights and biases of both layers, and their outputs are added.
IDIOMS = ("mul_add", "where", "lerp", "sub_mul", "masked_fill", "weight_mask", "straight_through")
MIXES = ("chain", "stack", "einsum", "buffer")
PATTERNS = ("open", "closed", "random", "one", "alternating", "cut", "mixed", "exact")


def select(idiom: str, alpha: Tensor, own: Tensor, shared: Tensor, shape: Shape) -> Tensor:
    """The selected value, written in the given idiom."""
    view = shape.view()
    if idiom == "straight_through":
        soft = torch.sigmoid(alpha)
        gate = (soft + ((soft > 0.5).to(soft.dtype) - soft).detach()).view(view)
        return gate * own + (1 - gate) * shared
    mask = (torch.sigmoid(alpha) > 0.5).view(view)
    gate = mask.to(own.dtype)
    if idiom == "mul_add":
        return gate * own + (1.0 - gate) * shared
    if idiom == "where":
        return torch.where(mask, own, shared)
    if idiom == "lerp":
        return torch.lerp(shared, own, gate)
    if idiom == "sub_mul":
        return shared + gate * (own - shared)
    if idiom == "masked_fill":
        return own.masked_fill(~mask, 0.0) + shared.masked_fill(mask, 0.0)
    raise ValueError(f"unknown gate idiom {idiom!r}: one of {IDIOMS}")


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
        letters = {"image": "bchw", "signal": "bcl", "tokens": "bnc", "vector": "bc"}
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
