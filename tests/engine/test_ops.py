"""Every op rule, by two properties over every example.

*Nudge*: what a rule says an output channel does not read can be changed without moving it.
*Slice commutes*: the sliced op gives the same numbers as slicing the op's output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from op_examples import EXAMPLES, KWARGS, C, Example, T
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.analysis.forms import forms
from igc.analysis.liveness import Liveness, liveness
from igc.graph import InputSpec, Program, execute
from igc.ops import TABLE, Facts, relation
from igc.ops.relations import Opaque
from igc.passes import Record, lint
from igc.passes.slice import SliceChannels

CASES = [(name, i) for name, examples in EXAMPLES.items() for i in range(len(examples))]


def target_of(name: str) -> Any:
    _, op, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, op), overload)


def draw(spec: T | C, generator: torch.Generator) -> Tensor:
    values = getattr(spec, "values", None)
    if spec.kind == "index":
        return torch.tensor(values, dtype=torch.int64)
    if values is not None:
        return torch.full(spec.shape, values[0], dtype=torch.float64)
    x = torch.randn(spec.shape, generator=generator, dtype=torch.float64)
    return {
        "float": x,
        "positive": x.abs() + 0.5,
        "above": x.abs() + 3.0,
        "unit": torch.sigmoid(x),
        "bool": x > 0,
        "mask": (x > 0).double(),
    }[spec.kind]


def program_of(
    name: str, example: Example, cut: tuple[int, list[int]] | None = None
) -> tuple[Program, list[Tensor]]:
    """A program that is the op alone, its output perhaps cut along one axis."""
    generator = torch.Generator().manual_seed(7)
    graph = fx.Graph()
    inputs: list[Tensor] = []
    specs: list[InputSpec] = []
    constants: dict[str, Tensor] = {}

    def operand(value: Any) -> Any:
        if isinstance(value, T):
            tensor = draw(value, generator)
            specs.append(InputSpec(f"x{len(inputs)}", tuple(tensor.shape), tensor.dtype))
            inputs.append(tensor)
            return graph.placeholder(f"x{len(inputs) - 1}")
        if isinstance(value, C):
            key = f"c{len(constants)}"
            constants[key] = draw(value, generator)
            return graph.create_node("get_attr", key, name=key)
        return value

    args = pytree.tree_map(operand, example, is_leaf=lambda v: isinstance(v, (T, C)))
    node = graph.call_function(target_of(name), tuple(args), KWARGS.get(name, {}))
    if cut is not None:
        constants["cut"] = torch.tensor(cut[1])
        index = graph.create_node("get_attr", "cut", name="cut")
        node = graph.call_function(torch.ops.aten.index_select.default, (node, cut[0], index))
    graph.output([node])
    program = Program(graph, constants, tuple(specs), ("output",), pytree.tree_structure(0), {},
                      torch.float64)  # fmt: skip
    return program, inputs


def facts_of(program: Program) -> Liveness:
    facts = Facts.of(program)
    relations = {
        n: relation(n, facts) if n.op == "call_function" else Opaque()
        for n in program.graph.nodes
        if n.op != "output" and facts.at[n].shape is not None
    }
    return liveness(forms(facts, relations))


def test_table_and_examples_list_the_same_ops() -> None:
    assert set(TABLE) == set(EXAMPLES)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_op_of_the_table_exists_and_changes_nothing(name: str) -> None:
    assert not target_of(name)._schema.is_mutable


@pytest.mark.parametrize(("name", "number"), CASES)
def test_nudge(name: str, number: int) -> None:
    """Everything an output channel does not read may change without moving it."""
    example = EXAMPLES[name][number]
    program, inputs = program_of(name, example)
    (before,) = execute(program, inputs)
    for axis in range(before.ndim):
        for channel in {0, before.shape[axis] // 2, before.shape[axis] - 1}:
            cut, _ = program_of(name, example, (axis, [channel]))
            live = facts_of(cut)
            nudged = []
            for node, x in zip(cut.placeholders, inputs, strict=True):
                masks = [m for user, m in live.readers.get(node, ()) if user.op != "output"]
                read = torch.zeros(x.shape, dtype=torch.bool)
                for each in masks:
                    box = torch.ones(x.shape, dtype=torch.bool)
                    for a, mask in enumerate(each):
                        shape = [1] * x.ndim
                        shape[a] = -1
                        box &= torch.from_numpy(mask).reshape(shape)
                    read |= box
                other = ~x if x.dtype == torch.bool else x * 0.75 + 0.25
                nudged.append(torch.where(read, x, other))
            (after,) = execute(program, nudged)
            same = before.select(axis, channel), after.select(axis, channel)
            assert torch.equal(*same), f"{name}: channel {channel} of axis {axis} moved"


@pytest.mark.parametrize(("name", "number"), CASES)
def test_slice_commutes(name: str, number: int) -> None:
    """Slice then run equals run then slice."""
    example = EXAMPLES[name][number]
    whole, _ = program_of(name, example)
    (full,) = execute(whole, program_of(name, example)[1])
    rng = np.random.default_rng(number)
    for axis in range(full.ndim):
        size = full.shape[axis]
        picks = sorted(int(i) for i in rng.choice(size, max(1, size // 2), replace=False))
        program, inputs = program_of(name, example, (axis, picks))
        (expected,) = execute(program, inputs)
        sliced = SliceChannels()(program, Record())
        lint(sliced, "slice")
        (found,) = execute(sliced, inputs)
        assert found.dtype == expected.dtype and found.shape == expected.shape
        if expected.dtype.is_floating_point:
            error = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-30)
            assert error <= 1e-10, f"{name} along axis {axis}: {error:.2e}"
        else:
            assert torch.equal(found, expected)


TIGHT = (
    "aten.relu.default", "aten.add.Tensor", "aten.conv2d.default", "aten.linear.default",
    "aten.batch_norm.default", "aten.max_pool2d.default", "aten.cat.default",
    "aten.permute.default", "aten.upsample_bilinear2d.vec", "aten.pixel_shuffle.default",
    "aten.channel_shuffle.default", "aten.instance_norm.default", "aten.reshape.default",
    "aten.scaled_dot_product_attention.default",
)  # fmt: skip


@pytest.mark.parametrize("name", TIGHT)
def test_rules_are_no_more_cautious_than_they_need_be(name: str) -> None:
    """Each input channel that a rule says is read does move the output, where widths matter."""
    example = EXAMPLES[name][0]
    program, inputs = program_of(name, example)
    (full,) = execute(program, inputs)
    axis = full.ndim - 1 if name.endswith(("linear.default", "attention.default")) else 1
    program, inputs = program_of(name, example, (axis, [full.shape[axis] - 1]))
    (before,) = execute(program, inputs)
    live = facts_of(program)
    for node, x in zip(program.placeholders, inputs, strict=True):
        for _, masks in live.readers.get(node, ()):
            at = min(axis, x.ndim - 1)
            for channel in np.flatnonzero(masks[at]):
                moved = [y.clone() for y in inputs]
                index = program.placeholders.index(node)
                moved[index].select(at, int(channel)).add_(3.0)
                (after,) = execute(program, moved)
                assert not torch.equal(before, after), f"{name}: channel {channel} is not read"
