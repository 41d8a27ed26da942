"""Libraries that look up what they are given: einops, and a stand-in that asks as einops does."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_backbones import TinyViT, heads, trains_as_before
from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn import gate

X = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)

STAND_IN = '''
import torch

def known(tensor):
    """Refuses, as einops does, what is no tensor of a library that it knows."""
    if not isinstance(tensor, torch.Tensor) or not torch.is_tensor(tensor):
        raise RuntimeError(f"Tensor type unknown to einops {type(tensor)}")
    return tensor

def reduce(tensor, pattern, reduction, **axes):
    """Only what the tests ask for; sizes are looked at in Python, as in einops."""
    shape = tuple(known(tensor).shape)
    heads = axes.get("h", 1)
    if pattern == "b n (h d) -> b h n d":
        batch, tokens, width = shape
        if width % heads:
            raise ValueError("not divisible")
        return tensor.reshape(batch, tokens, heads, width // heads).transpose(1, 2)
    if pattern == "b h n d -> b n (h d)":
        return tensor.transpose(1, 2).flatten(2)
    if pattern == "1 1 d -> b 1 d":
        return tensor.expand(axes["b"], 1, shape[-1])
    return getattr(tensor, reduction)(1)

def rearrange(tensor, pattern, **axes):
    return reduce(tensor, pattern, "rearrange", **axes)

def repeat(tensor, pattern, **axes):
    return reduce(tensor, pattern, "repeat", **axes)

class Rearrange(torch.nn.Module):
    def __init__(self, pattern, **axes):
        super().__init__()
        self.pattern, self.axes = pattern, axes

    def forward(self, x):
        return {3: rearrange, 4: rearrange}[len(x.shape)](x, self.pattern, **self.axes)

Rearrange.__module__ = "einops.layers.torch"
'''


@pytest.fixture
def einops(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A small einops, in the places where the real one has its functions."""
    package, functions = ModuleType("einops"), ModuleType("einops.einops")
    exec(STAND_IN, vars(functions))
    for name in ("reduce", "rearrange", "repeat", "Rearrange"):
        setattr(package, name, getattr(functions, name))
    package.__spec__ = importlib.util.spec_from_loader("einops", None)
    monkeypatch.setitem(sys.modules, "einops", package)
    monkeypatch.setitem(sys.modules, "einops.einops", functions)
    return package


def attention(einops: Any, layer: Any) -> nn.Module:
    """The plain transformer with its tokens split, repeated and averaged by einops.

    The functions are called by the module's name and by names of one's own, from helpers too.
    """
    rearrange = einops.rearrange

    def split(tensors: Any) -> tuple[Tensor, ...]:
        return tuple(rearrange(t, "b n (h d) -> b h n d", h=2) for t in tensors)

    class Attention(TinyViT):
        def __init__(self) -> None:
            super().__init__()
            self.split_heads = layer("b n (h d) -> b h n d", h=2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            token = einops.repeat(self.token, "1 1 d -> b 1 d", b=x.shape[0])
            x = torch.cat([token, x], 1) + self.position
            parts = torch.cat([self.q(x), self.k(x), self.v(x)], -1).chunk(3, dim=-1)
            q, k, v = split(parts)
            y = rearrange((self.split_heads(parts[0]) @ k.mT).softmax(-1) @ (v + q), BACK)
            mean: Tensor = einops.reduce(x + self.proj(y), "b n d -> b d", "mean")
            return mean

    return Attention()


BACK = "b h n d -> b n (h d)"


USED = [
    *(
        "patch.weight",
        "patch.bias",
        "token",
        "position",
        "q.weight",
        "q.bias",
        "k.weight",
        "k.bias",
    ),
    *("v.weight", "v.bias", "proj.weight", "proj.bias"),
]


def taken(backbone: nn.Module) -> None:
    for options in ({}, {"example_inputs": (X.double(),)}):
        assert sorted(trains_as_before(backbone, X, **options)) == sorted(USED)
        net = gate(backbone, heads("t"), at="layer", **options).double()  # type: ignore[arg-type]
        assert list(net.gates) == ["patch", "q", "k", "v", "proj"]
        assert net(torch.randn(5, 3, 8, 8, dtype=torch.float64))["t"].shape == (5, 8)


def test_a_stand_in_that_asks_as_einops_does(einops: Any) -> None:
    backbone = attention(einops, einops.Rearrange)
    original = sys.modules["einops.einops"].reduce
    taken(backbone)
    assert sys.modules["einops.einops"].reduce is original


def test_einops_itself() -> None:
    einops = pytest.importorskip("einops")
    layers = pytest.importorskip("einops.layers.torch")
    taken(attention(einops, layers.Rearrange))

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 1)
            self.pool = layers.Reduce("b c h w -> b c", "mean")

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            pairs: Tensor = einops.einsum(x, x, "b c h w, b d h w -> b c d")
            return pairs @ self.pool(x)[..., None]

    trains_as_before(Sums())
    trains_as_before(Sums(), example_inputs=(X.double(),))


def asked(x: Any) -> Tensor:
    """A helper that is typed at run time, as jaxtyping and others make them."""
    assert isinstance(x, torch.Tensor)
    assert isinstance(x, nn.Module | Tensor)
    assert not isinstance(x, int)
    assert not isinstance(x.shape[0], torch.Tensor)
    y: Tensor = x.T if x is None else x
    return y


class Typed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.sizes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        x = asked(self.a(asked(x).mT).mT)
        self.sizes.append(isinstance(x.shape[0], int))
        return x


def test_traced_tensors_are_tensors_and_sizes_are_not() -> None:
    plain = isinstance
    trains_as_before(Typed(), X)
    trains_as_before(Typed(), X, example_inputs=(X.double(),))
    assert isinstance is plain


def test_a_size_is_an_int_with_an_example() -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            if not isinstance(x.shape[-1], int):
                raise TypeError("sizes are to be numbers")
            return x * x.shape[-1]

    trains_as_before(Doubling(), X, example_inputs=(X.double(),))
    with pytest.raises(BadInput, match=r"sizes are to be numbers.*example_inputs"):
        gate(Doubling(), heads("t"), at="layer")
