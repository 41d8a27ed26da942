"""Parts of a network that compute in bfloat16, as float32 with the roundings of bfloat16.

Opset 20 has no convolution in bfloat16, and onnxruntime no kernels for it on a CPU. torch itself
computes an operation on bfloat16 in float32 and rounds what comes out, so a cast there and back
after each of them says the same. What only moves entries or picks among them rounds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from igc.emit.torch.precision import names_type, retype
from igc.program import Program
from igc.program.decisions import COMPARISONS
from igc.program.nodes import args_of, call_like, copy_node
from igc.program.rebuild import Env, rebuild
from igc.program.schema import op_name
from igc.program.shapes import Value, shapes

aten = torch.ops.aten
# What gives back entries of what it reads, or their negatives: nothing is rounded.
EXACT = frozenset({
    "reshape", "permute", "transpose", "unsqueeze", "squeeze", "expand", "repeat", "cat", "stack",
    "slice", "select", "narrow", "flip", "roll", "index_select", "index", "gather", "split",
    "chunk", "unbind", "constant_pad_nd", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "relu", "neg", "abs", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d",
    "amax", "amin", "maximum", "minimum", "embedding", "im2col", "zeros", "ones",
})  # fmt: skip
# Whose kernels round the numbers beside a tensor, too: x + 0.3 adds 0.30078125 in bfloat16. Others,
# products among them, take them as float32 has them.
ROUND_NUMBERS = frozenset({"add", "sub", "rsub", "pow", "fmod", "remainder", *COMPARISONS})


def rounded(program: Program) -> Program:
    """The program with float32 for bfloat16, and a rounding after each call that rounded.

    The same object where nothing is in bfloat16. A program that is in bfloat16 as a whole becomes
    one in float32, which rounds less.
    """
    if not names_type(program, torch.bfloat16):
        return program
    wide = retype(program, torch.float32, of=torch.bfloat16)
    if program.dtype == torch.bfloat16:
        return wide
    facts = shapes(program)
    before = dict(zip(wide.graph.nodes, program.graph.nodes, strict=True))

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        old = before[node]
        if node.op != "call_function" or not _is_narrow(old, facts):
            return None
        new = copy_node(graph, node, env.__getitem__)
        if op_name(node) in ROUND_NUMBERS:
            new.args, new.kwargs = pytree.tree_map(_number, (new.args, new.kwargs))
        if facts[old].dtype != torch.bfloat16 or _is_exact(old, facts):
            return new
        narrow = call_like(graph, node, aten._to_copy.default, new, dtype=torch.bfloat16)
        return call_like(graph, node, aten._to_copy.default, narrow, dtype=torch.float32)

    return rebuild(wide, make)


def _is_narrow(node: fx.Node, facts: Mapping[fx.Node, Value]) -> bool:
    """Whether it computes in bfloat16: it returns that, or compares with it."""
    if facts[node].dtype == torch.bfloat16:
        return True
    read = {facts[n].dtype for n in node.all_input_nodes}
    return op_name(node) in COMPARISONS and read == {torch.bfloat16}


def _is_exact(node: fx.Node, facts: Mapping[fx.Node, Value]) -> bool:
    """Whether what it returns needs no rounding: bfloat16 that was read, or entries of it."""
    cast = op_name(node) == "_to_copy"
    return op_name(node) in EXACT or (cast and facts[args_of(node)[0]].dtype == torch.bfloat16)


def _number(value: Any) -> Any:
    return float(torch.tensor(value).bfloat16()) if type(value) is float else value
