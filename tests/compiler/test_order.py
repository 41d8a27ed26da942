"""Channels keep their order through permutations, and outputs keep theirs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing import assert_equal, assert_minimal, compile_double, kernel_elements
from igc.testing.builder import randomise

IMAGE = (torch.zeros(2, 3, 8, 8),)
ORDER = [5, 2, 7, 0, 3, 6, 1, 4]


def fresh(net: nn.Module, seed: int = 0) -> nn.Module:
    randomise(net.modules(), torch.Generator().manual_seed(seed))
    return net.eval()


class Permuted(nn.Module):
    """Branches whose channels are permuted before the gate, concatenated and permuted again."""

    def __init__(self, permute: str) -> None:
        super().__init__()
        self.permute = permute
        self.shared, self.own = (nn.Conv2d(3, 8, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(16)
        self.last = nn.Conv2d(16, 3, 3, padding=1)
        self.side = nn.Conv2d(8, 2, 1)
        self.register_buffer("order", torch.tensor(ORDER))
        self.register_buffer(
            "twice", torch.randperm(16, generator=torch.Generator().manual_seed(1))
        )
        self.register_buffer("keep", torch.tensor([1, 0, 0, 1, 1, 0, 1, 0], dtype=torch.bool))
        fresh(self)

    def move(self, x: Tensor, order: Tensor) -> Tensor:
        if self.permute == "index":
            return x[:, order]
        if self.permute == "index_select":
            return x.index_select(1, order)
        if self.permute == "gather":
            return x.gather(1, order.view(1, -1, 1, 1).expand(x.shape))
        if self.permute == "unbind":
            return torch.stack([x[:, i] for i in ORDER[::-1] + list(range(8, x.shape[1]))], dim=1)
        if self.permute == "flip":
            return x.flip(1)
        if self.permute == "roll":
            return x.roll(3, dims=1)
        n, c, h, w = x.shape
        return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)  # shuffle

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shared = F.silu(self.shared(x))
        own = self.move(F.silu(self.own(x)), self.order)
        value = torch.where(self.keep[:, None, None], own, shared)
        both = torch.cat([self.move(shared, self.order), value], dim=1)
        return self.last(self.move(self.norm(both), self.twice)), self.side(value)


MOVES = ["index", "index_select", "shuffle", "flip", "roll", "gather", "unbind"]


@pytest.mark.slow
@pytest.mark.parametrize("permute", MOVES)
def test_permuted_branches(permute: str) -> None:
    net = Permuted(permute)
    static = compile_double(net, IMAGE)
    assert_equal(net, static, IMAGE)
    if permute in ("index", "index_select", "shuffle"):
        assert_minimal(net, static, IMAGE)
    else:
        assert kernel_elements(static) <= kernel_elements(net)


class Unsorted(nn.Module):
    """Two gates select the same rows in different orders before their tensors are added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 9), nn.Linear(5, 9)
        self.out = nn.Linear(4, 3)
        self.register_buffer("first", torch.tensor([8, 1, 6, 3]))
        self.register_buffer("then", torch.tensor([3, 0, 2, 1]))
        fresh(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((self.a(x)[:, self.first][:, self.then] + self.b(x)[:, self.first]).relu())


def test_kept_rows_are_cut_once_and_in_one_order() -> None:
    net = Unsorted()
    static = compile_double(net, (torch.zeros(2, 5),))
    assert_equal(net, static, (torch.zeros(2, 5),))
    assert_minimal(net, static, (torch.zeros(2, 5),))


class Returns(nn.Module):
    """Several outputs of one shape, returned in whatever way `form` says."""

    def __init__(self, form) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Linear(4, 6)
        self.heads = nn.ModuleList(nn.Linear(6, 3) for _ in range(4))
        fresh(self)

    def forward(self, x: Tensor):
        value = self.body(x).relu()
        return self.form([head(value) for head in self.heads], x)


FORMS = {
    "keys not in order": lambda o, x: {"z": o[0], "a": o[1], "m": o[2], "b": o[3]},
    "heads not in order": lambda o, x: (o[3], o[1], o[0], o[2]),
    "one output twice": lambda o, x: (o[1], o[0], o[1]),
    "nested": lambda o, x: {"late": [o[3], (o[2],)], "early": {"y": o[1], "x": o[0]}},
    "the input itself": lambda o, x: {"x": x, "y": o[0]},
    "a constant beside": lambda o, x: (o[0], torch.ones(3, dtype=x.dtype), o[1]),
    "one in a list": lambda o, x: [o[2]],
    "bare": lambda o, x: o[2],
    "logits and classes": lambda o, x: {"class": o[0].argmax(-1), "logits": o[0], "aux": o[1]},
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_keep_order_names_and_structure(form: str) -> None:
    net = Returns(FORMS[form])
    static = compile_double(net, (torch.zeros(2, 4),))
    assert_equal(net, static, (torch.zeros(2, 4),))


class Inputs(nn.Module):
    """Inputs of one shape that must not be swapped."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)
        fresh(self)

    def forward(self, right: Tensor, left: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(left) - self.right(right), self.right(left)


def test_inputs_keep_their_order() -> None:
    inputs = tuple(torch.randn(2, 4) for _ in range(3))
    net = Inputs()
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs)
    with torch.no_grad():
        values = [x.double() for x in inputs]
        swapped = static(values[1], values[0], values[2])
    assert not torch.allclose(swapped[0], net.double()(*values)[0])
