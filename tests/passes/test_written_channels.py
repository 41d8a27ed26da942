"""Channels that are overwritten: every spelling is exact, and keeps what is needed and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from slowness import slow_but
from torch import Tensor, nn

from igc.testing.judge import compile_double
from igc.testing.oracle import assert_equal, assert_minimal

AT = torch.tensor([1, 5, 3, 10])
MASK = torch.zeros(12, dtype=torch.bool).index_fill(0, torch.tensor([0, 3, 4, 9]), True)
Write = Callable[[Tensor, Tensor], Tensor]
HOW: dict[str, Write] = {}


def how(write: Write) -> Write:
    HOW[write.__name__] = write
    return write


def line(places: Tensor, like: Tensor) -> Tensor:
    """The places for every entry of the other axes, as `gather` and `scatter` take them."""
    rest = [1] * (like.ndim - 2)
    return places.view(1, -1, *rest).expand(like.shape[0], -1, *like.shape[2:])


@how
def a_slice_of_zeros(y: Tensor, z: Tensor) -> Tensor:
    y[:, 4:9] = 0
    return y


@how
def zeros_by_methods(y: Tensor, z: Tensor) -> Tensor:
    y.narrow(1, 2, 3).fill_(0)
    y.select(1, 7).zero_()
    y[:, -1] = 0
    return y


@how
def every_second(y: Tensor, z: Tensor) -> Tensor:
    y[:, ::2] = z[:, ::2]
    y[:, -3:-1] = z[:, :1]
    return y


@how
def places(y: Tensor, z: Tensor) -> Tensor:
    y[:, AT] = z[:, AT]
    y[:, [0, -2]] = 0
    return y


@how
def added_in_place(y: Tensor, z: Tensor) -> Tensor:
    y[:, AT] += z[:, :4]
    return y


@how
def a_mask_of_zeros(y: Tensor, z: Tensor) -> Tensor:
    y[:, MASK] = 0
    return y


@how
def filled_and_copied(y: Tensor, z: Tensor) -> Tensor:
    return y.index_fill(1, AT, 0.5).index_copy(1, torch.arange(3, 6), z[:, :3])


@how
def added(y: Tensor, z: Tensor) -> Tensor:
    return y.index_add(1, torch.tensor([1, 1, 2]), z[:, :3], alpha=2)


@how
def scattered(y: Tensor, z: Tensor) -> Tensor:
    return y.slice_scatter(z[:, :4], 1, -8, -4).select_scatter(z[:, 3], 1, -2)


@how
def masked(y: Tensor, z: Tensor) -> Tensor:
    mask = MASK.view(1, -1, *[1] * (y.ndim - 2))
    return y.masked_scatter(mask, z[:, AT]).masked_fill(mask.flip(1), 0.0)


@how
def scattered_over_the_batch(y: Tensor, z: Tensor) -> Tensor:
    return y.scatter(1, line(AT, y), z[:, :4]).scatter_add(1, line(AT + 1, y), z[:, 4:8])


@how
def gathered_over_the_batch(y: Tensor, z: Tensor) -> Tensor:
    return torch.cat([y.gather(1, line(AT, y))] * 3, 1)


@how
def into_an_empty_one(y: Tensor, z: Tensor) -> Tensor:
    found = torch.zeros_like(y)
    found[:, AT] = z[:, :4]
    found[:, MASK] = y[:, AT] * 2
    return found


@how
def masks_of_every_size(y: Tensor, z: Tensor) -> Tensor:
    mask = MASK.view(1, -1, *[1] * (y.ndim - 2))
    chosen = torch.where(mask.expand_as(y), y, z)
    ones = torch.zeros_like(y)
    ones[:, 2:9] = 1
    return chosen * ones + y * (1 - ones)


class Net(nn.Module):
    def __init__(self, write: Write, images: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.write = write
        self.a, self.b, self.head = (
            nn.Conv2d(i, o, 1) if images else nn.Linear(i, o)
            for i, o in ((3, 12), (3, 12), (12, 2))
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.tanh(self.write(self.a(x), self.b(x))))
        return found


def check(name: str, images: bool) -> None:
    net = Net(HOW[name], images).eval()
    inputs = (torch.randn(2, 3, 4, 5) if images else torch.randn(2, 3),)
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs, batches=(1, 3))
    assert not [r for r in static.record.remarks if r.kind == "opaque"]
    assert_minimal(net, static, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOW)
def test_nothing_that_is_overwritten_is_kept(name: str) -> None:
    check(name, images=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but({"places"}, [*HOW]))
def test_nor_of_images(name: str) -> None:
    check(name, images=True)
