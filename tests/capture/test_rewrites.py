"""Every rewrite: what becomes what with the same numbers, what stays, and why."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from call_programs import LAYER, Build, everything, outputs, program, text
from torch import Tensor

from igc.capture.normalize import normalize, rewritten
from igc.capture.rewrites.table import REWRITES
from igc.errors import BadInput
from igc.program.execute import execute
from igc.program.lint import lint

aten = torch.ops.aten
torch.manual_seed(0)
X = torch.randn(2, 6, 3, dtype=torch.float64)
FLOAT = X.float()
MATRIX, LINE = torch.randn(2, 3), torch.randn(4)
PART = torch.randn(2, 2, 3, dtype=torch.float64)
STATISTICS = (torch.rand(6, dtype=torch.float64), torch.rand(6, dtype=torch.float64) + 1)
NUMBERS = torch.tensor([[0, 2], [1, 1]])
MATRICES = (torch.ones(3, 4), torch.ones(4, 5))
BILINEAR = tuple(torch.randn(*s, dtype=torch.float64) for s in ((2, 4), (2, 5), (3, 4, 5), (3,)))


def one(target: Any, *args: Any, **kwargs: Any) -> Build:
    """A call on all inputs and these arguments."""
    return lambda call, *inputs: call(target, *inputs, *args, **kwargs)


def some(target: Any, *args: Any, reads: tuple[int, ...] = (0,), **kwargs: Any) -> Build:
    """The outputs that are read of such a call."""
    return lambda call, *inputs: outputs(call, call(target, *inputs, *args, **kwargs), *reads)


def full(sizes: str, value: str, dtype: str = "float64") -> str:
    return f"full({sizes}, {value}, dtype={dtype}, device=cpu)"


SIZES = "[sym_size.int(x, 0), sym_size.int(x, 1), sym_size.int(x, 2)]"
TO_THE_END = 2**63 - 1
NORM = (None, None, True, 0.1, 1e-5)
GRID = [torch.arange(2.0), torch.arange(3.0)]


def grid(target: Any, **kwargs: Any) -> Build:
    return lambda call, x, y: outputs(call, call(target, [x, y], **kwargs), 0, 1)


BECOMES: dict[str, tuple[Build, tuple[Tensor, ...], str]] = {
    "bits": (one(aten.view.dtype, torch.float64), (X,), "x"),
    "bits_copy": (one(aten.view_copy.dtype, torch.float64), (X,), "x"),
    "view_as_complex": (one(aten.view_as_complex.default), (X[..., :2].contiguous(),),
                        "view_as_complex(clone(x, memory_format=contiguous_format))"),
    "neg_view": (one(aten._neg_view.default), (X,), "neg(x)"),
    "weight_norm": (some(aten._weight_norm_interface.default, 0), (X, X[:, :1, :1].abs()),
                    "mul.Tensor(x, div.Tensor(y, linalg_vector_norm(x, 2, [1, 2], True)))"),
    "weight_norm, last axis": (
        some(aten._weight_norm_interface.default, 2), (X, X[:1, :1].abs()),
        "mul.Tensor(x, div.Tensor(y, linalg_vector_norm(x, 2, [0, 1], True)))"),
    "reshape_alias": (one(aten._reshape_alias.default, [6, 6], [6, 1]), (X,),
                      "reshape(x, [6, 6])"),
    "narrow_copy": (one(aten.narrow_copy.default, 1, 2, 3), (X,), "slice.Tensor(x, 1, 2, 5, 1)"),
    "narrow_copy from the end": (
        one(aten.narrow_copy.default, 1, -2, 2), (X,),
        "slice.Tensor(x, 1, add(sym_size.int(x, 1), -2), "
        "add(add(sym_size.int(x, 1), -2), 2), 1)",
    ),
    **{
        name: (one(getattr(aten, name).default), (X,), "x")
        for name in ("clone", "detach", "detach_", "alias", "contiguous", "lift_fresh",
                     "lift_fresh_copy", "positive", "resolve_conj", "resolve_neg")
    },
    **{
        name: (one(getattr(aten, name).default, 0.5, False), (X,), "x")
        for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
    },
    "a cast": (one(aten.to.dtype, torch.float64), (FLOAT,), "_to_copy(x, dtype=float64)"),
    "a copy that casts": (
        one(aten._to_copy.default, dtype=torch.int64), (X,), "_to_copy(x, dtype=int64)"
    ),
    "a cast to the own type": (one(aten.to.dtype, torch.float64), (X,), "x"),
    "type_as": (one(aten.type_as.default), (FLOAT, X), "_to_copy(x, dtype=float64)"),
    "transpose": (one(aten.transpose.int, 0, -1), (X,), "permute(x, [2, 1, 0])"),
    "transpose of one axis": (one(aten.transpose.int, 1, -2), (X,), "x"),
    "t": (one(aten.t.default), (MATRIX,), "permute(x, [1, 0])"),
    "t of a line": (one(aten.t.default), (LINE,), "x"),
    "flatten": (
        one(aten.flatten.using_ints, 1), (X,), "reshape(x, [sym_size.int(x, 0), -1])"
    ),
    "flatten the first": (
        one(aten.flatten.using_ints, end_dim=1), (X,), "reshape(x, [-1, sym_size.int(x, 2)])"
    ),
    "flatten one axis": (one(aten.flatten.using_ints, 1, 1), (X,), "x"),
    "flatten a number": (one(aten.flatten.using_ints), (torch.tensor(2.0),), "reshape(x, [-1])"),
    "unflatten": (
        one(aten.unflatten.int, -2, [2, -1]), (X,),
        "reshape(x, [sym_size.int(x, 0), 2, -1, sym_size.int(x, 2)])",
    ),
    "squeeze": (one(aten.squeeze.default), (X[:, :1, :1],), "squeeze.dims(x, [1, 2])"),
    "squeeze one axis": (one(aten.squeeze.dim, -2), (X[:, :1],), "squeeze.dims(x, [1])"),
    "squeeze a wide axis": (one(aten.squeeze.dim, 1), (X,), "x"),
    "squeeze several": (one(aten.squeeze.dims, [-1, 0, 1]), (X[:, :1, :1],),
                        "squeeze.dims(x, [1, 2])"),
    "squeeze a number": (one(aten.squeeze.default), (torch.tensor(2.0),), "x"),
    "roll": (one(aten.roll.default, [1, 2], [1, 2]), (X,), "roll(roll(x, [1], [1]), [2], [2])"),
    "flip": (one(aten.flip.default, [1, -1]), (X,), "flip(flip(x, [1]), [-1])"),
    "sym_numel": (
        lambda call, x: call(aten.mul.Tensor, x, call(aten.sym_numel.default, x)), (MATRIX,),
        "mul.Tensor(x, mul(mul(1, sym_size.int(x, 0)), sym_size.int(x, 1)))",
    ),
    "split": (some(aten.split.Tensor, 4, 1, reads=(0, 1)), (X,),
              "slice.Tensor(x, 1, 0, 4, 1)\nslice.Tensor(x, 1, 4, 6, 1)"),
    "split_with_sizes": (some(aten.split_with_sizes.default, [1, 5], -2, reads=(1,)), (X,),
                         "slice.Tensor(x, 1, 1, 6, 1)"),
    "unsafe_split": (some(aten.unsafe_split.Tensor, 1), (X,), "slice.Tensor(x, 0, 0, 1, 1)"),
    "unsafe_split_with_sizes": (
        some(aten.unsafe_split_with_sizes.default, [2, 4], 1), (X,), "slice.Tensor(x, 1, 0, 2, 1)"
    ),
    "chunk": (some(aten.chunk.default, 4, 1, reads=(2,)), (X,), "slice.Tensor(x, 1, 4, 6, 1)"),
    "unsafe_chunk": (some(aten.unsafe_chunk.default, 2, dim=1, reads=(1,)), (X,),
                     "slice.Tensor(x, 1, 3, 6, 1)"),
    "tensor_split": (some(aten.tensor_split.sections, 4, 1, reads=(3,)), (X,),
                     "slice.Tensor(x, 1, 5, 6, 1)"),
    "unbind": (some(aten.unbind.int, 1, reads=(0, 5)), (X,),
               "select.int(x, 1, 0)\nselect.int(x, 1, 5)"),
    "stack": (lambda call, x, y: call(aten.stack.default, [x, y], -1), (X, X + 1),
              "cat([unsqueeze(x, 3), unsqueeze(y, 3)], 3)"),
    "meshgrid": (
        grid(aten.meshgrid.indexing, indexing="xy"), tuple(GRID),
        "expand(reshape(x, [1, -1]), [sym_size.int(y, 0), sym_size.int(x, 0)])\n"
        "expand(reshape(y, [-1, 1]), [sym_size.int(y, 0), sym_size.int(x, 0)])",
    ),
    "meshgrid of old": (
        grid(aten.meshgrid.default), (GRID[0], torch.tensor(2.0)),
        "expand(reshape(x, [-1, 1]), [sym_size.int(x, 0), 1])\n"
        "expand(reshape(y, [1, -1]), [sym_size.int(x, 0), 1])",
    ),
    "mean": (one(aten.mean.default), (X,), "mean.dim(x, [0, 1, 2])"),
    "sum": (one(aten.sum.default, dtype=torch.float32), (X,),
            "sum.dim_IntList(x, [0, 1, 2], dtype=float32)"),
    "max": (one(aten.max.default), (X,), "amax(x, [0, 1, 2])"),
    "min": (one(aten.min.default), (X,), "amin(x, [0, 1, 2])"),
    "glu": (one(aten.glu.default, 1), (X,),
            "mul.Tensor(slice.Tensor(x, 1, 0, 3, 1), sigmoid(slice.Tensor(x, 1, 3, 6, 1)))"),
    "one_hot": (
        one(aten.one_hot.default, 3), (NUMBERS,),
        "_to_copy(eq.Tensor(unsqueeze(x, -1), arange(3, dtype=int64, device=cpu)), dtype=int64)",
    ),
    "rrelu": (one(aten.rrelu.default, 0.25, 0.75), (X,), "leaky_relu(x, 0.5)"),
    "rrelu by default": (one(aten.rrelu.default, upper=0.375), (X,), "leaky_relu(x, 0.25)"),
    "bilinear": (
        one(aten.bilinear.default), BILINEAR,
        "add.Tensor(sum.dim_IntList(mul.Tensor(reshape(matmul(x, reshape(permute(z, [1, 0, 2]), "
        "[4, 15])), [sym_size.int(x, 0), 3, 5]), unsqueeze(y, -2)), [2]), w)",
    ),
    "matmul": (one(aten.matmul.default), MATRICES, "matmul(x, y)"),
    "matmul with a vector": (
        one(aten.matmul.default), (MATRICES[0], torch.ones(4)),
        "squeeze.dims(matmul(x, unsqueeze(y, -1)), [1])",
    ),
    "matmul of a vector": (
        one(aten.matmul.default), (torch.ones(4), MATRICES[1]),
        "squeeze.dims(matmul(unsqueeze(x, 0), y), [0])",
    ),
    "matmul of two vectors": (
        one(aten.matmul.default), (torch.ones(4), torch.ones(4)),
        "squeeze.dims(matmul(unsqueeze(x, 0), unsqueeze(y, -1)), [0, 1])",
    ),
    "new_zeros": (one(aten.new_zeros.default, [2, 3]), (X,), full("[2, 3]", "0")),
    "new_zeros of no size": (one(aten.new_zeros.default, []), (X,), full("[]", "0")),
    "new_ones": (one(aten.new_ones.default, [2], dtype=torch.int64), (X,),
                 full("[2]", "1", "int64")),
    "new_full": (one(aten.new_full.default, [2], fill_value=1.5), (X,), full("[2]", "1.5")),
    "zeros_like": (one(aten.zeros_like.default), (X,), full(SIZES, "0")),
    "ones_like": (one(aten.ones_like.default, dtype=torch.bool), (X,), full(SIZES, "True", "bool")),
    "full_like": (one(aten.full_like.default, 2), (X,), full(SIZES, "2")),
    "slice_scatter": (
        one(aten.slice_scatter.default, 1, 2, 4), (X, PART),
        f"cat([slice.Tensor(x, 1, 0, 2, 1), y, slice.Tensor(x, 1, 4, {TO_THE_END}, 1)], 1)",
    ),
    "slice_scatter to the end": (
        one(aten.slice_scatter.default, -2, 4), (X, PART),
        "cat([slice.Tensor(x, 1, 0, 4, 1), y], 1)",
    ),
    "slice_scatter of all": (one(aten.slice_scatter.default), (X, X + 1), "y"),
    "select_scatter": (
        one(aten.select_scatter.default, -2, 0), (X, PART[:, 0]),
        f"cat([unsqueeze(y, 1), slice.Tensor(x, 1, 1, {TO_THE_END}, 1)], 1)",
    ),
    "the last": (
        one(aten.select_scatter.default, 1, -1), (X, PART[:, 0]),
        f"slice_scatter(x, unsqueeze(y, 1), 1, -1, {TO_THE_END})",
    ),
    "one number in an entry": (
        lambda call, x: call(
            aten.select_scatter.default, x, call(aten.zero.default, call(aten.select.int, x, 1, 0)),
            1, 0,
        ), (X,), f"cat([{full('[sym_size.int(x, 0), 1, sym_size.int(x, 2)]', '0')}, "
        f"slice.Tensor(x, 1, 1, {TO_THE_END}, 1)], 1)",
    ),
    "copy": (one(aten.copy.default), (X, X + 1), "y"),
    "copy of fewer": (one(aten.copy.default), (X, X[:1]), f"expand(y, {SIZES})"),
    "copy of another type": (one(aten.copy.default), (X, FLOAT), "_to_copy(y, dtype=float64)"),
    "zero": (one(aten.zero.default), (X,), full(SIZES, "0")),
    "fill": (one(aten.fill.Scalar, 2), (X,), full(SIZES, "2")),
    "fill with a tensor": (one(aten.fill.Tensor), (X, PART[0, 0, 0]), f"expand(y, {SIZES})"),
    "slice of all": (one(aten.slice.Tensor, 1, 0, TO_THE_END), (X,), "x"),
    "slice of a part": (one(aten.slice.Tensor, 1, 0, 3), (X,), "slice.Tensor(x, 1, 0, 3)"),
    "slice_scatter from the end": (one(aten.slice_scatter.default, 1, -2), (X, PART),
                                   "slice_scatter(x, y, 1, -2)"),
    "batch norm": (
        lambda call, x, y, z: outputs(
            call, call(aten._native_batch_norm_legit_no_training.default, x, None, None, y, z, 0.1,
                       1e-5), 0,
        ), (X, *STATISTICS), "batch_norm(x, None, None, y, z, False, 0.1, 1e-05, False)",
    ),
    "own batch norm": (some(aten._native_batch_norm_legit.no_stats, *NORM), (X,),
                       "batch_norm(x, None, None, None, None, True, 0.1, 1e-05, False)"),
    "max of an axis": (some(aten.max.dim, 1), (X,), "amax(x, [1], False)"),
    "min of an axis": (some(aten.min.dim, dim=1, keepdim=True), (X,), "amin(x, [1], True)"),
    "var_mean": (some(aten.var_mean.correction, [1], correction=2, reads=(0, 1)), (X,),
                 "var.correction(x, [1], correction=2)\nmean.dim(x, [1], False)"),
    "var_mean of old": (
        some(aten.var_mean.dim, [1], False, keepdim=True, reads=(0, 1)), (X,),
        "var.correction(x, [1], correction=0, keepdim=True)\nmean.dim(x, [1], True)",
    ),
}  # fmt: skip

STAYS: dict[str, tuple[Build, tuple[Tensor, ...], str]] = {
    "bits": (one(aten.view.dtype, torch.int32), (NUMBERS,), "it reads the bits of integers"),
    "dropout": (one(aten.dropout.default, 0.5, True), (X,), "it drops at random"),
    "rrelu": (one(aten.rrelu.default, 0.1, 0.2, True), (X,), "its slopes are random"),
    "roll": (one(aten.roll.default, [2]), (X,), "it rolls over all axes as if they were one"),
    "one_hot": (lambda call, x: call(aten.one_hot.default, x, call(aten.sym_size.int, x, 0)),
                (torch.tensor([0, 2, 1]),), "the number of its classes is a size"),
    "full_like": (lambda call, x: call(aten.full_like.default, x, call(aten.sym_size.int, x, 0)),
                  (X,), "its value is a size"),
    "a slice in another type": (one(aten.slice_scatter.default, 1, 0, 2), (X, PART.float()),
                                "it casts what is assigned"),
    "an entry in another type": (one(aten.select_scatter.default, 1, 0), (X, PART[:, 0].float()),
                                 "it casts what is assigned"),
    "fill with a size": (lambda call, x: call(aten.fill.Scalar, x, call(aten.sym_size.int, x, 0)),
                         (X,), "its value is a size"),
    "the statistics": (some(aten._native_batch_norm_legit.no_stats, *NORM, reads=(0, 1)), (X,),
                       "its statistics are read"),
    "the places": (some(aten.max.dim, 1, reads=(1,)), (X,),
                   "the places of its values are read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BECOMES)
def test_what_becomes_what(name: str) -> None:
    build, inputs, want = BECOMES[name]
    before = program(build, *inputs)
    after = rewritten(before)
    assert text(after) == want
    assert after.note == {}
    lint(after, name)
    for a, b in zip(execute(before, inputs), execute(after, inputs), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_says_why(name: str) -> None:
    build, inputs, why = STAYS[name]
    before = program(build, *inputs)
    after = rewritten(before)
    assert text(after) == text(before)
    (line,) = after.note["declined"]
    assert line.startswith(f"layer '{LAYER}': aten.") and line.endswith(f" is kept: {why}")


def test_bits_of_fractions_are_refused() -> None:
    read = program(one(aten.view.dtype, torch.int32), X)
    made = program(one(aten.view.dtype, torch.float64), NUMBERS)
    for each in (read, made):
        with pytest.raises(BadInput, match=rf"layer '{LAYER}': view\(torch.*precision; write it"):
            rewritten(each)


def test_no_rewrite_is_without_a_case() -> None:
    built = [program(build, *inputs) for build, inputs, _ in BECOMES.values()]
    assert {n.target for each in built for n in each.graph.nodes} >= set(REWRITES)


@pytest.mark.parametrize("name", [*BECOMES, *(f"stays: {name}" for name in STAYS)])
def test_nothing_is_written_on_what_was_given(name: str) -> None:
    cases = BECOMES | {f"stays: {k}": v for k, v in STAYS.items()}
    build, inputs, _ = cases[name]
    given = program(build, *inputs)
    before = everything(given)
    rewritten(given)
    normalize(given)
    assert everything(given) == before


def test_a_rewrite_that_writes_on_its_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def writes(at: Any) -> Any:
        at.node.meta["seen"] = True
        return at.now(at["self"])

    monkeypatch.setattr("igc.capture.normalize.REWRITES", {aten.clone.default: writes})
    given = program(one(aten.clone.default), X)
    before = everything(given)
    rewritten(given)
    assert everything(given) != before


def test_outputs_that_nothing_reads_are_not_made() -> None:
    target = aten._native_batch_norm_legit_no_training.default

    def norm(call: Build, x: Any, y: Any, z: Any) -> Any:
        """As torch exports it: all three outputs are taken, one is read."""
        return outputs(call, call(target, x, None, None, y, z, 0.1, 1e-5), 0, 1, 2)[:1]

    after = rewritten(program(norm, X, *STATISTICS))
    calls = [n.target for n in after.graph.nodes if n.op == "call_function"]
    assert calls == [aten.batch_norm.default] and operator.getitem not in calls
