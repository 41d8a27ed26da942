"""A backbone that looks at sizes: the gated network is the backbone, or refuses the size."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.nn.asked import SizeRefused
from igc.program.fixed import fixed_axes

Middle = Callable[[Tensor], Tensor]


class Backbone(nn.Module):
    def __init__(self, middle: Middle) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.middle = middle
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.middle(self.first(x).relu())).relu()


def odd(y: Tensor) -> Tensor:
    return F.pad(y, (0, 0, 0, 1)) if y.shape[2] % 2 else y


def batch(y: Tensor) -> Tensor:
    return y - y.mean(0, keepdim=True) if y.shape[0] > 1 else y


def width(y: Tensor) -> Tensor:
    return y * int(y.shape[3])


def harmless(y: Tensor) -> Tensor:
    return y.contiguous() if y.shape[2] % 2 else y


def rank(y: Tensor) -> Tensor:
    rows, _, *size = y.shape
    return F.interpolate(y.reshape(rows, 6, *size), size=tuple(size)) if len(y.shape) == 4 else y


SIZES = [(2, 3, 8, 8), (1, 3, 8, 8), (7, 3, 8, 8), (2, 3, 9, 8), (2, 3, 8, 9), (1, 3, 5, 4)]


@pytest.mark.parametrize(
    ("middle", "refused"),
    [(odd, {(2, 3, 9, 8), (1, 3, 5, 4)}), (batch, {(1, 3, 8, 8), (1, 3, 5, 4)}),
     (width, {(2, 3, 8, 9), (1, 3, 5, 4)}), (harmless, set()), (rank, set())],
)  # fmt: skip
def test_the_gated_network_is_the_backbone_or_refuses(
    middle: Middle, refused: set[tuple[int, ...]]
) -> None:
    backbone = Backbone(middle).eval()
    net = igc.gate(backbone, {"a": nn.Identity()}, at="layer", example_inputs=torch.randn(SIZES[0]))
    for one in (net.eval(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        for shape in SIZES:
            x = torch.randn(shape)
            if shape in refused:
                with pytest.raises(SizeRefused, match=r"decided test_nn_asked\.py:\d+ 'return"):
                    one(x)
            else:
                torch.testing.assert_close(one(x)["a"], backbone(x))
    assert net.train()(torch.randn(SIZES[0]))["a"].requires_grad


@pytest.mark.parametrize(
    ("middle", "dims"),
    [(odd, ("batch", 3, 8, "width")), (batch, (2, 3, "height", "width")),
     (width, ("batch", 3, "height", 8)), (harmless, ("batch", 3, "height", "width"))],
)  # fmt: skip
def test_what_it_refuses_is_fixed_in_what_is_compiled(
    middle: Middle, dims: tuple[int | str, ...]
) -> None:
    x = torch.randn(SIZES[0])
    net = igc.gate(Backbone(middle), {"a": nn.Identity()}, at="layer", example_inputs=x)
    program = capture(net, x)
    assert program.inputs[0].dims == dims
    said = [fixed.why for fixed in fixed_axes(program)]
    assert all(why.startswith("the example of igc.gate decided test_nn_asked.py:") for why in said)
    assert len(said) == sum(isinstance(d, int) for d in (dims[0], *dims[2:]))
