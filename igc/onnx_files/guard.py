"""Reading an ONNX file that nobody vouches for: looked through before any tool may run it.

onnxruntime and the onnx package trust much of what a file says: that weights it names beside
itself are weights, that tensors have the sizes they claim, that functions come to an end. Each
of these is checked here on the file as it stands. Nothing outside the file is opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path

import onnx

from igc.errors import BadInput, is_clean, one_line, show

MAX_NODES = 50_000  # of onnxruntime's own time that is half a minute
MAX_TENSORS = 100_000
MAX_OUTPUTS = 256  # a report tells of every set of outputs
MAX_BYTES = 1 << 31  # protobuf's own limit
MAX_FUNCTIONS = 500


def read_onnx(path: str) -> onnx.ModelProto:
    """The model in the file at `path`, without data that lies outside the file.

    Raises `BadInput`, saying where, for what cannot be read, has no outputs, reads names that
    nothing before them gives (a cycle is one), claims tensors larger than their data, takes
    weights from outside its folder, or whose functions never end.
    """
    require_ordinary(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises several kinds, all meaning the same
        reason = one_line(error)
        raise BadInput(f"{path}: no ONNX file, or a damaged one: {reason}") from error
    try:
        check_model(model, Path(path).absolute().parent)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return model


def require_ordinary(path: str) -> None:
    """Raises `BadInput` for what is no ordinary file, or larger than an ONNX file can be."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: no such file") from error
    if not stat.S_ISREG(found.st_mode):
        raise BadInput(f"{path}: not an ordinary file")
    if found.st_size >= MAX_BYTES:
        raise BadInput(f"{path}: {found.st_size / 2**30:.1f} GiB, ONNX files are less than 2 GiB")


def check_model(model: onnx.ModelProto, folder: Path) -> None:
    """Raises `BadInput` unless the model passes every check; see `read_onnx`."""
    if not model.graph.output:
        raise BadInput("no ONNX file, or a damaged one: it has no outputs")
    _check_counts(model)
    _check_functions(model)
    _check_graph(model.graph, frozenset(), folder)
    for function in model.functions:
        _check_nodes(function.node, {*function.input}, folder)


def _check_counts(model: onnx.ModelProto) -> None:
    """Raises for more of anything than a network has: what follows takes time for each."""
    graph, counted = model.graph, len(model.graph.node)
    counted += sum(len(function.node) for function in model.functions)
    tensors = len(graph.initializer) + len(graph.sparse_initializer)
    for found, most, what in (
        (counted, MAX_NODES, "nodes"),
        (tensors, MAX_TENSORS, "stored tensors"),
        (len(graph.input) - len(graph.initializer), MAX_OUTPUTS, "inputs"),
        (len(graph.output), MAX_OUTPUTS, "outputs"),
        (len(graph.value_info), MAX_NODES + MAX_TENSORS, "noted shapes"),
    ):
        if found > most:
            raise BadInput(f"it has {found} {what}, more than the limit of {most}")


def _check_graph(graph: onnx.GraphProto, outer: frozenset[str], folder: Path) -> None:
    known = {*outer, *(i.name for i in graph.input)}
    for tensor in graph.initializer:
        _check_tensor(tensor, folder)
        known.add(tensor.name)
    for sparse in graph.sparse_initializer:
        _check_tensor(sparse.values, folder)
        _check_tensor(sparse.indices, folder)
        known.add(sparse.values.name)
    for value in (*graph.input, *graph.output):
        _check_name(value.name)
        for dim in value.type.tensor_type.shape.dim:
            _check_name(dim.dim_param)
            if dim.dim_value < 0:
                raise BadInput(f"{show(value.name)} has a negative size, {dim.dim_value}")
    _check_nodes(graph.node, known, folder)
    for value in graph.output:
        if value.name not in known:
            raise BadInput(f"nothing gives its output {show(value.name)}")


def _check_nodes(nodes: Iterable[onnx.NodeProto], known: set[str], folder: Path) -> None:
    """Checks the nodes in order; `known` are the names before them, and grows by theirs."""
    for node in nodes:
        for text in (node.name, node.op_type, node.domain):
            _check_name(text)
        for name in node.input:
            if name and name not in known:
                raise BadInput(
                    f"node {show(node.name or node.op_type)} reads {show(name)}, which nothing "
                    "before it gives: a cycle, or a piece is missing"
                )
        for attribute in node.attribute:
            _check_name(attribute.name)
            for tensor in (attribute.t, *attribute.tensors):
                _check_tensor(tensor, folder)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                _check_tensor(sparse.values, folder)
                _check_tensor(sparse.indices, folder)
            for graph in _subgraphs(attribute):
                _check_graph(graph, frozenset(known), folder)
        for name in node.output:
            _check_name(name)
            known.add(name)


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _check_name(name: object) -> None:
    """Raises for what is not text; protobuf gives bytes where it is not even UTF-8."""
    if not isinstance(name, str) or not is_clean(name):
        raise BadInput(f"it holds a name with unprintable characters, {show(name)}")


def _check_tensor(tensor: onnx.TensorProto, folder: Path) -> None:
    """Raises unless the data of the tensor is there, in the file or in its folder."""
    _check_name(tensor.name)
    shape = tuple(tensor.dims)
    if any(n < 0 for n in shape):
        raise BadInput(f"the tensor {show(tensor.name)} has a negative size, {show(shape)}")
    claimed = _bytes(shape, tensor.data_type)
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        _check_external(tensor, claimed, folder)
        return
    # Numbers outside raw_data may be packed: a zero of eight bytes takes one.
    held = tensor.ByteSize() * (1 if tensor.HasField("raw_data") else 8)
    if claimed > held:
        raise BadInput(
            f"the tensor {show(tensor.name)} has the shape {show(shape)}, more than the file holds"
        )


def _bytes(shape: tuple[int, ...], kind: int) -> int:
    """At least how many bytes so many elements take; types of a byte or less count as a bit."""
    try:
        width = int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except (KeyError, TypeError):
        width = 1
    if width == 1 or kind == onnx.TensorProto.STRING:
        return prod(shape) // 8
    return prod(shape) * width


def _check_external(tensor: onnx.TensorProto, claimed: int, folder: Path) -> None:
    """Raises unless the data lies in an ordinary file inside the model's folder, in full."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f"the weights {show(tensor.name)} in a file of their own, {show(location)}"
    place = _inside(location, folder)
    if place is None:
        raise BadInput(f"it keeps {what}, which lies outside the model's folder: not opened")
    try:
        found = place.stat()
        start, length = (int(entries.get(key) or 0) for key in ("offset", "length"))
    except (OSError, ValueError):
        raise BadInput(f"it keeps {what}, which cannot be read there") from None
    if not stat.S_ISREG(found.st_mode):
        raise BadInput(f"it keeps {what}, which is no ordinary file")
    if start < 0 or length < 0 or start + max(length, claimed) > found.st_size:
        raise BadInput(f"it keeps {what}, which is too short for them")


def _inside(location: str, folder: Path) -> Path | None:
    """The file of that name, links followed; None where it is not inside the folder."""
    if not location or "\0" in location or os.path.isabs(location) or "\\" in location:
        return None
    home = folder.resolve()
    try:
        place = (home / location).resolve()
    except (OSError, RuntimeError):
        return None
    return place if place.is_relative_to(home) and place != home else None


def _check_functions(model: onnx.ModelProto) -> None:
    """Raises where a function calls itself, or all of them written out are too many nodes."""
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int | None] = {}
    if _written_out(model.graph.node, functions, sizes) > MAX_NODES:
        raise BadInput(f"it is more than {MAX_NODES} nodes with its functions written out")
    for key in functions:
        _size(key, functions, sizes)


def _size(
    key: tuple[str, str],
    functions: Mapping[tuple[str, str], onnx.FunctionProto],
    sizes: dict[tuple[str, str], int | None],
) -> int:
    """How many nodes a function comes to; None in `sizes` marks one that is being counted."""
    if key not in sizes:
        if len(sizes) > MAX_FUNCTIONS:
            raise BadInput(f"it has more than {MAX_FUNCTIONS} functions")
        sizes[key] = None
        sizes[key] = _written_out(functions[key].node, functions, sizes)
    known = sizes[key]
    if known is None:
        raise BadInput(f"its function {show(key[1])} calls itself")
    return known


def _written_out(
    nodes: Iterable[onnx.NodeProto],
    functions: Mapping[tuple[str, str], onnx.FunctionProto],
    sizes: dict[tuple[str, str], int | None],
) -> int:
    total = 0
    for node in nodes:
        key = (node.domain, node.op_type)
        total += _size(key, functions, sizes) if key in functions else 1
        for attribute in node.attribute:
            for graph in _subgraphs(attribute):
                total += _written_out(graph.node, functions, sizes)
    return total
