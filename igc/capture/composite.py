"""Composite operations: those that torch itself runs as several others, which have rules.

Written out, `cosine_similarity` or `tensordot` is products, sums and divisions that channels can be
followed through. An operation that has a rule of its own stays as the user called it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from igc.capture.contractions import CONTRACTIONS
from igc.capture.in_place import pure_overload

aten = torch.ops.aten

#: Kernels of their own in torch, which a table of torch's writes as ops with rules.
WRITTEN_OUT = (
    aten.einsum.default, aten.rot90.default, aten.norm.Scalar, aten.norm.ScalarOpt_dim,
    aten.norm.ScalarOpt_dtype, aten.norm.ScalarOpt_dim_dtype, aten.renorm.default,
    aten.addr.default, aten.mv.default, aten.dot.default, aten.vdot.default, aten.aminmax.default,
    aten.logaddexp.default, aten.logaddexp2.default, aten.heaviside.default, aten.sinc.default,
    aten.std_mean.correction, aten.trace.default,
)  # fmt: skip
#: Composite, and yet kept: step by step a recurrence is hundreds of nodes (and onnxruntime has it
#: as one), and the pieces of the others are no easier to follow than the whole.
KEPT = ("lstm", "gru", "rnn_", "fft_", "linalg_", "stft", "istft", "embedding_bag", "max_unpool")
#: Composite, made of pieces with rules, although its family is kept.
SPLIT = frozenset({
    "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "linalg_norm", "linalg_matrix_norm",
    "linalg_matmul", "linalg_multi_dot", "linalg_vecdot",
})  # fmt: skip


def decompositions(
    graph: fx.Graph, known: Mapping[str, Any], table: Mapping[Any, Any]
) -> list[dict[Any, Any]]:
    """Parts of torch's `table` of decompositions for a graph that holds ops not in `known`.

    Best first; the last one writes out nothing that torch could fail on.
    """
    least = {op: _own(op, table[op]) for op in WRITTEN_OUT if op in table}
    if not any(is_composite(op, known) for op in _called(graph)):
        return [least]
    composite = {op: _own(op, table[op]) for op in list(table) if is_composite(op, known)}
    return [least | composite, least]


def _own(op: Any, torchs: Callable[..., Any]) -> Callable[..., Any]:
    """How an op is written out: as `CONTRACTIONS` say, as torch does where those do not apply."""
    ours = CONTRACTIONS.get(op)
    if ours is None:
        return torchs

    def written(*args: Any, **kwargs: Any) -> Any:
        found = ours(*args, **kwargs)
        return torchs(*args, **kwargs) if found is NotImplemented else found

    return written


def _called(graph: fx.Graph) -> set[Any]:
    targets = {n.target for n in graph.nodes if n.op == "call_function"}
    calls = {t for t in targets if isinstance(t, torch._ops.OpOverload)}
    return {(pure_overload(t) or t) if t._schema.is_mutable else t for t in calls}


def is_composite(op: Any, known: Mapping[str, Any]) -> bool:
    """Whether an op that is not in `known` is one that torch runs as others, and is not kept."""
    if not isinstance(op, torch._ops.OpOverload) or op.namespace != "aten" or str(op) in known:
        return False
    name = str(op).split(".")[1]
    if name.startswith(KEPT) and name not in SPLIT:
        return False
    full = f"{op._schema.name}.{op._schema.overload_name}".rstrip(".")
    return torch._C._dispatch_has_kernel_for_dispatch_key(full, "CompositeImplicitAutograd")
