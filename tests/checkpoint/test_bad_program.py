"""Plain data that is no program: one line that says where, before anything runs or takes memory."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoint_nets import tiny_data

from igc.checkpoint.data import from_data, to_data
from igc.errors import BadCheckpoint, IgcError
from igc.program.execute import execute

Data = dict[str, Any]
DATA, TENSORS = tiny_data()


def call(target: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """A call node to put before the output."""
    return {"name": "extra", "op": "call_function", "target": target, "args": list(args),
            **({"kwargs": kwargs} if kwargs else {})}  # fmt: skip


def with_calls(*nodes: dict[str, Any]) -> Data:
    """The tiny program with these nodes before its output; nodes are called extra, extra_1, ..."""
    data = copy.deepcopy(DATA)
    for i, node in enumerate(nodes):
        data["nodes"].insert(-1, {**node, "name": f"extra_{i}"})
    return data


def refused(data: Any, said: str) -> None:
    """Asserts that the data is refused, in one short line that matches `said`."""
    with pytest.raises(BadCheckpoint, match=said) as caught:
        from_data(data, TENSORS)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 400 and line.isprintable()


def node(data: Data, op: str) -> dict[str, Any]:
    """The first node of that kind."""
    return next(n for n in data["nodes"] if n["op"] == op)


def test_the_data_itself_is_good() -> None:
    program = from_data(copy.deepcopy(DATA), TENSORS)
    assert to_data(program) == DATA
    (value,) = execute(program, [torch.ones(5, 4)])
    assert value.shape == (5, 3)


SPOILT: dict[str, tuple[Callable[[Data], Any], str]] = {
    "not a dict": (lambda d: [d], "the program is a list of 1"),
    "missing field": (lambda d: d.pop("nodes"), "lacks the field 'nodes'"),
    "unknown field": (lambda d: d.update(code="import os"), "unknown field 'code'"),
    "unknown node field": (lambda d: d["nodes"][0].update(x=1), "unknown field 'x'"),
    "no nodes": (lambda d: d.update(nodes=[]), "the graph is empty"),
    "nodes no list": (lambda d: d.update(nodes={}), "expected a list"),
    "node no dict": (lambda d: d["nodes"].insert(0, 7), "node 0 is 7"),
    "two names": (lambda d: d["nodes"].insert(1, dict(d["nodes"][0])), "two nodes are called"),
    "odd name": (lambda d: d["nodes"][0].update(name="a b"), "expected an identifier"),
    "unicode name": (lambda d: d["nodes"][0].update(name="ℌ"), "expected an identifier"),
    "reserved name": (lambda d: d["nodes"][0].update(name="import"), "reserved"),
    "long name": (lambda d: d["nodes"][0].update(name="n" * 1000), "1000 characters"),
    "control character": (lambda d: d["nodes"][0].update(layer="a\x1b[2J"), "unprintable"),
    "surrogate": (lambda d: d["nodes"][0].update(layer="\ud800"), "unprintable"),
    "unknown kind": (lambda d: d["nodes"][0].update(op="call_module"), "unknown kind"),
    "no output": (lambda d: d["nodes"].pop(), "no output"),
    "two outputs": (lambda d: d["nodes"].insert(0, dict(d["nodes"][-1])), "no output"),
    "output of nothing": (lambda d: d["nodes"][-1].update(args=[]), "something else than nodes"),
    "output of a number": (lambda d: d["nodes"][-1].update(args=[3]), "something else than nodes"),
    "foreign constant": (
        lambda d: node(d, "get_attr").update(target="nowhere"), "reads the tensor 'nowhere'",
    ),
    "attribute path": (
        lambda d: node(d, "get_attr").update(target="__class__.__init__"), "the file lacks",
    ),
    "unknown dtype": (lambda d: d.update(dtype="float1"), "unknown dtype"),
    "integer dtype": (lambda d: d.update(dtype="int64"), "expected a floating one"),
    "dtype no text": (lambda d: d.update(dtype=["float32"]), "unknown dtype"),
    "sizes no table": (lambda d: d.update(sizes=[1]), "the sizes"),
    "huge size": (lambda d: d["sizes"].update(dict.fromkeys(d["sizes"], 1 << 40)), "outside"),
    "no size": (lambda d: d["sizes"].update(dict.fromkeys(d["sizes"], 0)), "outside"),
    "bool size": (lambda d: d["sizes"].update(dict.fromkeys(d["sizes"], True)), "an integer"),
    "unknown size": (lambda d: d["inputs"][0].update(dims=["q", 4]), "unknown size 'q'"),
    "huge input": (lambda d: d["inputs"][0].update(dims=[1 << 31, 1 << 31]), "GiB"),
    "no input": (lambda d: d.update(inputs=[]), "declares 0 inputs"),
    "two inputs": (lambda d: d["inputs"].append(d["inputs"][0]), "declares 2 inputs"),
    "no output name": (lambda d: d.update(outputs=[]), "returns 1 tensors, 0 are named"),
    "structure too large": (
        lambda d: d.update(structure={"tuple": [None, None]}), "2 have a place",
    ),
    "unknown structure": (lambda d: d.update(structure={"set": [None]}), "unknown structure"),
    "structure twice": (
        lambda d: d.update(structure={"dict": [["a", None], ["a", None]]}), "names 'a' twice",
    ),
    "gate of nothing": (lambda d: d["gates"].update(l={"t": "none"}), "does not read"),
    "gate no text": (lambda d: d["gates"].update(l={"t": ["alpha"]}), "does not read"),
    "gates no table": (lambda d: d["gates"].update(l=3), "expected a table"),
    "mix of nothing": (lambda d: d["mixes"].update(l="none"), "does not read"),
    "origin": (lambda d: d["origins"].update(x={"source": "y"}), "lacks the field 'index'"),
    "origin index": (
        lambda d: d["origins"].update(
            x={"source": "y", "index": [[-1]], "transform": "", "parts": []}
        ),
        "outside",
    ),
    "note": (lambda d: d["note"].update(x=[1]), "the note holds"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_data_is_refused(case: str) -> None:
    spoil, said = SPOILT[case]
    data: Any = copy.deepcopy(DATA)
    made = spoil(data)
    refused(made if case == "not a dict" else data, said)


X = {"node": "x"}
NESTED: Any = 1
for _ in range(100):
    NESTED = [NESTED]

CALLS: dict[str, tuple[Data, str]] = {
    "outside the table": (call("aten.from_file.default", "/etc/passwd"), "may not use"),
    "python": (call("os.system", "true"), "may not use"),
    "no operation": (call("aten.relu"), "may not use"),
    "mutating": (call("aten.relu_.default", X), "may not use"),
    "random": (call("aten.rand.default", [2]), "may not use"),
    "dropout on": (call("aten.dropout.default", X, 0.5, True), "only False is allowed"),
    "dropout by a node": (call("aten.dropout.default", X, 0.5, X), "only False is allowed"),
    "attention that drops": (
        call("aten.scaled_dot_product_attention.default", X, X, X, None, 0.5), "dropout_p",
    ),
    "batch norm in training": (
        call("aten.batch_norm.default", X, None, None, None, None, True, 0.1, 1e-5, False),
        "training",
    ),
    "instance norm in training": (
        call("aten.instance_norm.default", X, None, None, X, X, True, 0.1, 1e-5, False), "training",
    ),
    "dangling name": (call("aten.relu.default", {"node": "nowhere"}), "no node before it"),
    "cycle": (call("aten.relu.default", {"node": "extra_0"}), "no node before it"),
    "name no text": (call("aten.relu.default", {"node": ["x"]}), "no node before it"),
    "too many arguments": (call("aten.relu.default", X, 1, 2), "has 3 arguments"),
    "too few arguments": (call("aten.add.Tensor", X), "cannot run"),
    "unknown argument": (call("aten.relu.default", X, inplace=True), "no room for an argument"),
    "argument twice": (call("aten.relu.default", X, self=X), "no room for an argument"),
    "wrong type": (call("aten.relu.default", "x"), "cannot run"),
    "number for a type": (call("aten.log_softmax.int", X, -1, -1), "no torch.dtype"),
    "number for a layout": (call("aten.zeros.default", [2], layout=9), "no torch.layout"),
    "number for an order": (
        call("aten.clone.default", X, memory_format=99), "no torch.memory_format",
    ),
    "type for a number": (call("aten.group_norm.default", X, {"dtype": "int8"}), "no place"),
    "text for a number": (call("aten.softmax.int", X, "one"), "cannot run"),
    "unknown kind of argument": (call("aten.relu.default", {"code": "1"}), "unknown kind"),
    "two kinds": (call("aten.relu.default", {"node": "x", "float": "inf"}), "no argument"),
    "unknown float": (call("aten.mul.Scalar", X, {"float": "1e999"}), "unknown float"),
    "another device": (call("aten.full.default", [2], 1, device={"device": "cuda"}), "device"),
    "deep nesting": (call("aten.cat.default", NESTED), "deeper than 16"),
    "long list": (call("aten.reshape.default", X, [1] * 70_000), "more than the limit"),
    "number beyond 64 bits": (call("aten.mul.Scalar", X, 1 << 80), "outside"),
    "shapes do not fit": (call("aten.mm.default", X, X), "cannot run"),
    "axis out of range": (call("aten.softmax.int", X, 9), "along axis 9 of 2"),
    "terabytes, full": (call("aten.full.default", [1 << 40], 1), "GiB"),
    "terabytes, no device": (call("aten.zeros.default", [1 << 20, 1 << 20], device=None), "GiB"),
    "terabytes, overflow": (call("aten.zeros.default", [1 << 40, 1 << 40]), "cannot run|GiB"),
    "terabytes, arange": (call("aten.arange.default", 1e15), "GiB"),
    "terabytes, eye": (call("aten.eye.default", 1 << 30), "GiB"),
    "terabytes, expand": (call("aten.expand.default", {"node": "p_alpha"}, [1 << 40, 3]), "GiB"),
    "terabytes, repeat": (call("aten.repeat.default", X, [1 << 30, 1 << 10]), "GiB"),
    "terabytes, pad": (call("aten.constant_pad_nd.default", X, [0, 1 << 40]), "GiB"),
    "terabytes, one_hot": (
        call("aten.new_zeros.default", X, [1 << 20, 1 << 22]), "GiB",
    ),
    "many axes": (call("aten.reshape.default", X, [*[1] * 60, -1, 4]), "axes"),
    "size of a tensor": (call("operator.add", X, X), "something else than sizes"),
    "size of a list": (call("operator.add", [1], [1]), "something else than sizes"),
    "text times number": (call("operator.mul", "a", 1 << 40), "something else than sizes"),
    "size with names": (call("operator.add", 1, b=2), "something else than sizes"),
    "division by zero": (call("operator.floordiv", 1, 0), "cannot run"),
    "piece of text": (call("operator.getitem", "abc", 0), "something else than a node"),
    "piece of a tensor": (call("operator.getitem", X, 0), "has none"),
    "piece by name": (call("operator.getitem", X, "shape"), "expected an integer"),
    "not even a list": ({**call("aten.relu.default"), "args": {"0": X}}, "expected a list"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_hostile_calls_are_refused_without_time_or_memory(case: str) -> None:
    extra, said = CALLS[case]
    peak, start = _peak_mib(), time.process_time()
    refused(with_calls(extra), f"node 'extra_0'.*({said})")
    assert time.process_time() - start < 5
    assert _peak_mib() - peak < 300


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_billions_of_pieces_are_refused() -> None:
    long = call("aten.zeros.default", [1 << 30], dtype={"dtype": "uint8"})
    for cut in (
        call("aten.split.Tensor", {"node": "extra_0"}, 1),
        call("aten.unbind.int", {"node": "extra_0"}),
        call("aten.chunk.default", {"node": "extra_0"}, 1 << 29),
        call("aten.tensor_split.sections", {"node": "extra_0"}, 1 << 29),
    ):
        refused(with_calls(long, cut), "extra_1.*too many pieces")


def test_numbers_that_square_themselves_are_refused() -> None:
    squares = [call("operator.mul", 1 << 40, 1 << 20)]
    for i in range(60):
        squares.append(call("operator.mul", {"node": f"extra_{i}"}, {"node": f"extra_{i}"}))
    refused(with_calls(*squares), "beyond 64 bits")


def test_doubling_tensors_are_refused() -> None:
    doubles = [call("aten.cat.default", [X, X])]
    for i in range(60):
        again = {"node": f"extra_{i}"}
        doubles.append(call("aten.cat.default", [again, again]))
    refused(with_calls(*doubles), "GiB")


def test_deep_output_structures_are_refused() -> None:
    structure: Any = None
    for _ in range(5000):
        structure = {"list": [structure]}
    refused({**copy.deepcopy(DATA), "structure": structure}, "deeper than 16")


def test_too_many_nodes_are_refused() -> None:
    nodes = [{"name": "n", "op": "placeholder"}] * 20_001
    refused({**DATA, "nodes": nodes}, "more than the limit of 20000")


def test_a_tensor_of_an_odd_kind_is_refused() -> None:
    sparse = {**TENSORS, "alpha": torch.eye(3).to_sparse()}
    with pytest.raises(BadCheckpoint, match="'alpha' is of an unsupported kind"):
        from_data(DATA, sparse)


def test_random_damage_to_the_data_is_refused_or_harmless() -> None:
    """Replaces random leaves, drops random entries: a `Program` or an `IgcError`, nothing else."""
    generator = torch.Generator().manual_seed(0)
    odd = [None, -1, 0, 1 << 62, 1e300, "", "x", "extra", [], {}, [[]], {"node": "x"}, True]

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    kinds = {"good": 0, "refused": 0}
    for _ in range(400):
        data: Any = copy.deepcopy(DATA)
        spot, key = data, None
        while isinstance(spot, (dict, list)) and spot and (key is None or pick(5)):
            key = pick(len(spot)) if isinstance(spot, list) else list(spot)[pick(len(spot))]
            above, spot = spot, spot[key]
        if pick(3):
            above[key] = odd[pick(len(odd))]
        else:
            del above[key]
        try:
            from_data(data, TENSORS)
            kinds["good"] += 1
        except BadCheckpoint:
            kinds["refused"] += 1
    assert kinds["refused"] > 200 and issubclass(BadCheckpoint, IgcError)


def returning(node: dict[str, Any]) -> Data:
    """The tiny program with this node for its output."""
    data = with_calls(node)
    data["nodes"][-1]["args"] = [{"node": "extra_0"}]
    return data


def test_a_program_has_to_run_at_the_sizes_that_compiling_asks_for() -> None:
    data = returning(call("aten.reshape.default", {"node": "x"}, [8, 2]))
    data["sizes"]["batch"] = 4
    refused(data, r"does not run at batch=\d+: .*reshape|shape '\[8, 2\]' is invalid")


def test_an_output_has_elements() -> None:
    refused(returning(call("aten.slice.Tensor", {"node": "x"}, 0, 0, 0)), "has no elements")


def test_a_single_number_has_no_axes_to_pick_from() -> None:
    data = with_calls(call("aten.sum.default", {"node": "x"}),
                      call("aten.squeeze.dim", {"node": "extra_0"}, 0))  # fmt: skip
    refused(data, "node 'extra_1' takes an axis of a single number")
