"""Inputs test little of a network whose outputs do not answer them: what was not exercised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from igc.verification.channels import Axis, by_channel

FEW = 16  # elements, of which two values are no news


@dataclass
class _Seen:
    """The range of each channel, and whether anything lay inside an output's own range."""

    low: Tensor
    high: Tensor
    ends: set[float]
    inside: bool
    count: int


@dataclass
class Exercise:
    """Collects what the reference's outputs were like on the inputs that were run."""

    _seen: dict[str, _Seen] = field(default_factory=dict)

    def add(self, name: str, value: Tensor, axis: Axis) -> None:
        """Takes note of an output on one set of inputs."""
        rows = by_channel(value.detach(), axis)
        if not rows.numel() or rows.is_complex():
            return
        low, high = rows.amin(1).double(), rows.amax(1).double()
        ends = {float(low.min()), float(high.max())}
        inside = bool(((rows > rows.min()) & (rows < rows.max())).any())
        known = self._seen.get(name)
        if known is None or known.low.shape != low.shape:
            self._seen[name] = _Seen(low, high, ends, inside, rows.numel())
            return
        known.low, known.high = torch.minimum(known.low, low), torch.maximum(known.high, high)
        known.ends, known.inside = known.ends | ends, known.inside or inside
        known.count += rows.numel()

    def notes(self) -> Iterator[str]:
        """One line for each output that did not answer the inputs, or with two values alone."""
        for name, seen in self._seen.items():
            constant = seen.low == seen.high
            if bool(constant.all()):
                yield f"not exercised: output '{name}' was constant on every input"
            elif bool(constant.any()):
                which = ", ".join(map(str, constant.nonzero().flatten()[:8].tolist()))
                more = ", ..." if int(constant.sum()) > 8 else ""
                yield (
                    f"not exercised: {int(constant.sum())} of {len(constant)} channels of output "
                    f"'{name}' were constant on every input: {which}{more}"
                )
            elif not seen.inside and len(seen.ends) == 2 and seen.count >= FEW:
                low, high = sorted(seen.ends)
                yield (
                    f"not exercised: output '{name}' was {low:g} or {high:g} on every input, "
                    "nothing between (saturated)"
                )
