"""What Python decides by constants is captured; what it decides by an input is refused by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.errors import Refused
from igc.testing.judge import compile_double
from igc.testing.oracle import assert_equal, assert_minimal

KEEP = torch.tensor([1, 0, 1, 1, 0, 1, 0, 0]).bool()
Forward = Callable[[Any, Tensor], Tensor]
CONSTANT: dict[str, Forward] = {}
OPEN: dict[str, Forward] = {}


def constant(forward: Forward) -> Forward:
    CONSTANT[forward.__name__] = forward
    return forward


def by_input(forward: Forward) -> Forward:
    OPEN[forward.__name__] = forward
    return forward


@constant
def an_item(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.a(x) if net.flag.item() else net.b(x)
    return found


@constant
def a_comparison(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.a(x) if net.alpha[0] > 0 and float(net.alpha[1]) < 0 else net.b(x)
    return found


@constant
def a_list(net: Any, x: Tensor) -> Tensor:
    pairs = zip((net.a, net.b), net.alpha.tolist(), strict=True)
    return torch.stack([layer(x) for layer, weight in pairs if weight > 0]).sum(0)


@constant
def a_branch(net: Any, x: Tensor) -> Tensor:
    return torch.stack([net.a(x), net.b(x)])[net.alpha.argmax()]


@constant
def a_number(net: Any, x: Tensor) -> Tensor:
    found: Tensor = (net.a, net.b)[int(net.alpha.argmin())](x)
    return found


@constant
def any_of_a_mask(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.a(x) if bool((net.keep > 0).any()) else net.b(x)
    return found


@constant
def places_of_a_mask(net: Any, x: Tensor) -> Tensor:
    return net.a(x).index_select(1, net.keep.nonzero().squeeze(1)).repeat(1, 2)


@constant
def one_by_one(net: Any, x: Tensor) -> Tensor:
    y = net.a(x)
    return torch.cat([y[:, int(i) : int(i) + 1] for i in net.keep.nonzero()] * 2, 1)


@constant
def a_mask(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.a(x)[:, net.keep].repeat(1, 2)
    return found


@constant
def a_mask_on_both_sides(net: Any, x: Tensor) -> Tensor:
    y, z = net.a(x), net.b(x)
    y[:, torch.sigmoid(net.scores) > 0.5] = z[:, torch.sigmoid(net.scores) > 0.5]
    return y


@constant
def where_a_mask_is(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.a(x)[:, torch.where(net.keep)[0]].repeat(1, 2)
    return found


@constant
def numpys(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.a(x)[:, torch.from_numpy(np.flatnonzero(net.keep.numpy()))].repeat(1, 2)
    return found


@constant
def a_mask_made_in_place(net: Any, x: Tensor) -> Tensor:
    """A plain attribute's values, too; the tensor that is asked is the one that was written."""
    mask = torch.zeros(8)
    mask[net.scores.topk(3).indices] = 1
    mask += net.plain
    return net.a(x) * mask.clamp(max=1) if mask.sum() > 3 else net.b(x)


@constant
def repeated_by_numbers(net: Any, x: Tensor) -> Tensor:
    return net.a(x)[:, :3].repeat_interleave(net.counts, 1)


class Net(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = forward
        self.a, self.b, self.head = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)
        self.alpha = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.scores = nn.Parameter(torch.randn(8))
        self.register_buffer("keep", KEEP)
        self.register_buffer("flag", torch.tensor(True))
        self.register_buffer("counts", torch.tensor([1, 4, 3]))
        self.plain = torch.eye(8)[0]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.tanh(self.how(self, x)))
        return found


@pytest.mark.parametrize("name", slow_but(
    {"an_item", "a_list", "a_branch", "a_mask_on_both_sides", "a_mask_made_in_place"}, CONSTANT
))  # fmt: skip
def test_what_constants_decide_is_captured(name: str) -> None:
    net, inputs = Net(CONSTANT[name]).eval(), (torch.randn(2, 4),)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    static = compile_double(net, inputs)
    assert_equal(net, static, inputs, batches=(1, 3))
    assert_minimal(net, static, inputs)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(net.plain, torch.eye(8)[0])


def test_a_decision_follows_its_constant() -> None:
    """Nothing of one capture stays for the next."""
    net, x = Net(an_item).eval(), torch.randn(2, 4)
    names = [set(capture(net, x).constants)]
    net.flag.fill_(False)
    names.append(set(capture(net, x).constants))
    assert ["a.weight" in n for n in names] == [True, False]
    assert ["b.weight" in n for n in names] == [False, True]


def test_a_decision_is_taken_in_the_networks_own_precision() -> None:
    class Close(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.alpha = nn.Parameter(torch.tensor(1e-8))

        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if torch.sigmoid(self.alpha) > 0.5 else x - 1

    net, x = Close().eval(), torch.randn(2, 4)
    assert torch.equal(igc.compile(net, (x,))(x), x - 1)


@by_input
def compared(net: Any, x: Tensor) -> Tensor:
    return x if x.mean() > 0 else -x  # asks


@by_input
def an_item_of_the_input(net: Any, x: Tensor) -> Tensor:
    k = x.max().item()
    return x if k > 0 else -x  # asks


@by_input
def a_factor(net: Any, x: Tensor) -> Tensor:
    return x * x.max().item()  # asks


@by_input
def a_list_of_the_input(net: Any, x: Tensor) -> Tensor:
    return x * x[0].tolist()[0]  # asks


@by_input
def places_of_the_input(net: Any, x: Tensor) -> Tensor:
    return x[:, (x.mean(0) > 0).nonzero().squeeze(1)].sum(1)  # asks


@by_input
def a_mask_of_the_input(net: Any, x: Tensor) -> Tensor:
    return x[x > 0].sum()  # asks


@by_input
def where_the_input_is(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.where(x[0] > 0)[0].float())  # type: ignore[no-any-return]  # asks


@by_input
def written_by_the_input(net: Any, x: Tensor) -> Tensor:
    """A constant into which an input was written is none, and neither is a view of it."""
    mask = torch.zeros(4)
    view = mask.view(2, 2)
    mask[0] = x[0, 0]
    return x if view[0, 0] > 0 else -x  # asks


@by_input
def at_random(net: Any, x: Tensor) -> Tensor:
    return x if torch.rand(1) > 0.5 else -x  # asks


@pytest.mark.parametrize("name", OPEN)
def test_what_an_input_decides_is_refused_by_line(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return OPEN[name](self, x)

    with pytest.raises(Refused) as caught:
        capture(Decides().eval(), torch.randn(2, 4))
    line, _, rest = str(caught.value).partition(" asks for a value")
    assert line.startswith("test_decided.py:")
    number = int(line.split(":")[1].split(" ")[0])
    source = open(__file__, encoding="utf-8").read().splitlines()[number - 1]  # noqa: SIM115
    assert source.endswith("# asks")
    assert rest.startswith(" that the input or a random number determines")
    assert capfd.readouterr().err == ""


def test_a_value_that_is_asked_for_and_not_used_stops_nothing() -> None:
    class Logs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.mean = x.mean().item()
            return x + 1

    x = torch.randn(2, 4)
    assert torch.equal(compile_double(Logs().eval(), (x,))(x), x + 1)
