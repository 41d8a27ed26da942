"""A program as text and back: nothing is lost but what the docstring of the text says."""

from __future__ import annotations

import math
from collections import OrderedDict, namedtuple
from dataclasses import replace
from typing import Any

import pytest
import torch
from program_texts import assert_told, calls
from tiny import Tiny
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from igc.capture import capture
from igc.compiler import compilation
from igc.errors import BadInput
from igc.program import Origin
from igc.program.execute import execute
from igc.program.lint import lint
from igc.program.parsing import parse
from igc.program.text import text

aten = torch.ops.aten

SMALL = """\
program(x: f32[batch=2, 4]) f32
  own = linear(x, @own.weight, @own.bias)                       # own
  shared = linear(x, @shared.weight, @shared.bias)              # shared
  mixed = where.self(@open, own, shared)
  return seg=mixed
  @own.weight f32[6, 4]
  @own.bias f32[6] 0 0.1 0.2 0.3 0.4 0.5
  @shared.weight f32[6, 4]
  @shared.bias f32[6] 1 2 3 1e-08 -0.0 inf
  @open bool[6] 1 1 0 0 1 0
"""


def test_a_program_by_hand_is_written_as_it_was_read() -> None:
    program = parse(SMALL)
    assert text(program) == SMALL
    lint(program, "text")
    x = torch.randn(3, 4)
    (found,) = execute(program, (x,))
    weight, bias, open_ = (program.constants[n] for n in ("own.weight", "own.bias", "open"))
    own = nn.functional.linear(x, weight, bias)
    assert torch.equal(found[:, open_], own[:, open_])
    assert not torch.equal(found, own)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_network_goes_through_its_text_and_back(compiled: bool) -> None:
    made = compilation(Tiny(), torch.randn(2, 4))
    program = made.program if compiled else made.gated
    again = assert_told(program)
    x = torch.randn(5, 4)
    assert all(map(torch.equal, execute(program, (x,)), execute(again, (x,))))


@pytest.mark.parametrize(
    "value",
    [0, -3, True, None, 1.0, -0.0, 1e-05, 1e300, 0.1, math.inf, -math.inf, math.nan, "none", "it's",
     "a # b", 'both " and \'', "line\nend",
     [], [1], [[1, 2], [], [True, None]], (1,), (1, 2.0), [(1, [2])],
     torch.float32, torch.bool, torch.channels_last, torch.strided, torch.device("cpu"),
     torch.device("meta")],
    ids=repr,
)  # fmt: skip
def test_every_argument_keeps_its_value_and_type(value: Any) -> None:
    program = parse("program(x: f32[2]) f32\n  y = relu(x, 0, named=1)\n  return y=y")
    graph = fx.Graph()
    x = graph.placeholder("x")
    y = graph.call_function(aten.relu.default, (x, value, [x, value]), {"named": value})
    y.meta["layer"] = "'odd' # layer"
    graph.output([y])
    made = program.with_graph(graph, {})
    assert calls(parse(text(made))) == calls(made)


@pytest.mark.parametrize(
    "value",
    [torch.tensor([0.1, -0.0, 1e-45, 3.4e38, math.inf, -math.inf, math.nan, 1 / 3]),
     torch.tensor([0.1, 1 / 3, 5e-324], dtype=torch.float64),
     torch.tensor([0.1, 1 / 3, 6e-8], dtype=torch.float16),
     torch.tensor([0.1, 1 / 3, 1e-40], dtype=torch.bfloat16),
     torch.tensor([2**63 - 1, -(2**63), 2**53 + 1]), torch.tensor([255, 0], dtype=torch.uint8),
     torch.tensor([True, False]), torch.tensor(2.5), torch.empty(0, 3), torch.ones(2, 1, 3)],
    ids=lambda v: f"{v.dtype} {list(v.shape)}",
)  # fmt: skip
def test_few_values_are_written_exactly(value: Tensor) -> None:
    program = replace(parse(SMALL), constants={"c": value})
    words = text(program)
    told_line = words.splitlines()[-1]
    reread = parse(f"program() f32\n  return y=@c\n{told_line}").constants["c"]
    assert reread.dtype == value.dtype
    assert reread.shape == value.shape
    as_bits = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}[value.itemsize]
    finite = value.nan_to_num(1) if value.is_floating_point() else value
    again = reread.nan_to_num(1) if value.is_floating_point() else reread
    assert torch.equal(finite.view(as_bits), again.view(as_bits))
    assert torch.equal(value.isnan(), reread.isnan())


def test_other_values_are_drawn_the_same_every_time() -> None:
    words = "program() f32\n  return y=@w\n  @w f32[4, 5]\n  @var f32[64]\n  @at i64[8, 8]\n"
    one, other = parse(words), parse(words)
    assert text(one, few=0) == words
    assert all(torch.equal(v, other.constants[k]) for k, v in one.constants.items())
    assert one.constants["var"].min() > 0
    assert one.constants["at"].unique().tolist() == [0, 1]
    given = torch.full((4, 5), 3.0)
    assert parse(words, {"w": given}).constants["w"] is given


Pair = namedtuple("Pair", ["first", "second"])


@pytest.mark.parametrize(
    ("returned", "written"),
    [(lambda a, b: {"a": a, "b": b}, "return a=add, b=mul"),
     (lambda a, b: a + b, "return output=add_1 as _"),
     (lambda a, b: (a, b), "return output_0=add, output_1=mul as (_, _)"),
     (lambda a, b: [a, None, (b,)], "return output_0=add, output_2_0=mul as [_, None, (_,)]"),
     (lambda a, b: {"x.y": {1: a}, "no word!": b},
      "return x.y.1=add, 'no word!'=mul as {'x.y': {1: _}, 'no word!': _}"),
     (lambda a, b: OrderedDict(b=b, a=a), "return b=mul, a=add as OrderedDict({'b': _, 'a': _})"),
     (lambda a, b: Pair(a, second=b), "return first=add, second=mul as Pair(first=_, second=_)")],
    ids=["dict", "tensor", "tuple", "list", "nested", "ordered", "namedtuple"],
)  # fmt: skip
def test_outputs_keep_their_names_and_structure(returned: Any, written: str) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return returned(x + 1, x * 2)

    program = capture(Net(), torch.randn(2, 3))
    assert written in text(program).replace("add_2", "add_1")
    again = parse(text(program))
    assert text(again) == text(program)
    assert again.outputs == program.outputs
    leaves = list(range(len(program.outputs)))
    trees = [pytree.tree_unflatten(leaves, p.out_spec) for p in (program, again)]
    assert trees[0] == trees[1]
    assert str(type(trees[0]).__name__) == str(type(trees[1]).__name__)


def test_inputs_sizes_and_shared_constants() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 8))

        def forward(self, input: Tensor, unused: Tensor, c: Tensor) -> Tensor:
            a, b = torch.split(input.flatten(2) @ self.weight.T.T.mT, [1, 2], 2)
            b, _ = torch.sort(b @ self.weight[:2, :2], 2)
            y = torch.cat([a, b], 2)
            return y.reshape(c.shape[0] * input.shape[1], -1) + c.sum()

    inputs = (torch.randn(2, 4, 8), torch.zeros(1, dtype=torch.int64), torch.randn(2, 3))
    program = capture(Net(), inputs)
    words = text(program)
    assert "input as input_1: f32[" in words
    assert "unused: i64[" in words
    assert "operator.getitem" in words
    again = assert_told(program)
    assert all(map(torch.equal, execute(program, inputs), execute(again, inputs)))


def test_names_kinds_origins_gates_and_mixes() -> None:
    wide = torch.tensor([0.1, 0.2], dtype=torch.float64)
    plain = parse(
        "program('an input' as an_input: f32[2], 'a size': f32['a b'=3, 'a b']) f32\n"
        "  c_odd_name_ = add.Tensor(an_input, @'odd name!')\n"
        "  y = mul.Tensor(c_odd_name_, @'layers.0.é')\n"
        "  return y=y\n"
        "  @'odd name!' f32[2]\n  @'layers.0.é' f64[2] as f32\n"
    )
    program = replace(
        plain,
        constants={"odd name!": torch.ones(2), "layers.0.é": wide, "a~1": torch.ones(1)},
        gates={"layer 1": {"seg": "odd name!", "gone": "removed"}, "gone": {"seg": "removed"}},
        mixes={"layer 1": "a~1", "gone": "removed"},
        origins={
            "odd name!": Origin("a source: odd", transform="fold batch norm"),
            "layers.0.é": Origin("", transform="computed, slice"),
            "a~1": Origin("a"),
        },
    )
    words = text(program)
    assert parse(words).kind("layers.0.é") == torch.float32
    assert "gates 'layer 1': seg=@'odd name!'\n" in words
    assert "mixes 'layer 1': @a~1\n" in words
    for comment in (
        "# from 'a source: odd': fold batch norm\n",
        "# computed, slice\n",
        "# from a\n",
    ):
        assert comment in words
    again = parse(words, program.constants)
    assert text(again) == words
    assert calls(again) == calls(program)
    assert again.inputs == program.inputs
    assert (again.sizes, again.kinds) == (program.sizes, program.kinds)
    assert again.mixes == {"layer 1": "a~1"}


@pytest.mark.parametrize(
    ("line", "said"),
    [("y = nonsense(x)", "line 2 of the program: there is no operation aten.nonsense.default"),
     ("y = __class__(x)", "no operation aten.__class__.default"),
     ("y = relu(z)", "no node before this line is named 'z'"),
     ("y = relu(x", "expected ',', found the end"),
     ("y = relu(x) x", "expected the end, found 'x'"),
     ("y = relu(x, torch.load)", "torch.load is no type, layout or memory format"),
     ("y = relu(x, device('nowhere'))", "nowhere"),
     ("y = relu(x, (lambda: 0)())", "no node before this line is named 'lambda'"),
     ("x = relu(x)", "two nodes named 'x'"),
     ("y = relu(x) ; z", "what is '; z'?"),
     ("y relu(x)", "expected NAME = ..., return, gates, mixes or @CONSTANT"),
     ("y = relu(@w)\n  return y=y", "no line for the constant @w"),
     ("y = relu(x)\n  return y=y as (_, _)", "1 outputs, 2 places"),
     ("y = relu(x)\n  return y=y as class(a=_)", "'class' is not a plain name"),
     ("y = relu(x)\n  return y=y\n  @w f32[3] 1 2", "invalid for input of size 2"),
     ("y = relu(x)\n  return y=y\n  @w f31[3]", "'f31' is no type"),
     ("y = relu(x)", "no 'return ...'")],
)  # fmt: skip
def test_what_is_no_program_is_named_with_its_line(line: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(f"program(x: f32[2]) f32\n  {line}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_has_no_text_is_named() -> None:
    program = parse("program(x: f32[2]) f32\n  y = mul.Tensor(x, 2)  # layer1\n  return y=y")
    graph = fx.Graph()
    y = graph.call_function(aten.mul.Tensor, (graph.placeholder("x"), 2j))
    y.meta["layer"] = "layer1"
    graph.output([y])
    with pytest.raises(BadInput, match="layer 'layer1' is called with a complex"):
        text(program.with_graph(graph, {}))
