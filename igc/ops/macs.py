"""What every op costs: the one place in igc that knows the MACs of an ATen op.

Counted (1 multiply-add = 1 MAC; FLOPs = 2 x MACs, always both, always labelled):

* convolutions and transposed convolutions, 1-d to 3-d, any groups: every kernel element meets
  every output position (transposed: every input position), padding included;
* linears and matrix products (``linear``, ``addmm``, ``mm``, ``bmm``, ``matmul``, ``einsum``, ...);
* attention: the two products Q K^T and A V, in full also where a mask is causal;
* recurrent layers: every weight matrix once per time step.

Counted as zero, as the literature does: biases, elementwise ops, normalisation, pooling,
interpolation, softmax, reductions, indexing and everything that only moves data. An op with a rule
(`igc.ops.TABLE`) that is not counted is one of these, and so is an op that PyTorch itself tags
*pointwise*, or whose result is a view of an argument; ``ZERO_OPS`` lists the rest by reason. Of any
other op (an FFT, a linear solver, a custom op) igc does not know the cost: ``op_macs`` returns
None, and whoever counts lists the op.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch

from igc.ops import TABLE
from igc.program.schema import base_name, parameters

Shape = tuple[int, ...]
Rule = Callable[[Mapping[str, Any], Any], int]  # arguments by name, result


def shape_of(value: Any) -> Shape:
    """The shape of a tensor, of anything else with a ``shape``, or of a plain tuple of sizes.

    Of several tensors (the outputs of one op) it is the first one's.
    """
    if hasattr(value, "shape"):
        return tuple(value.shape)
    values = tuple(value)
    if values and (hasattr(values[0], "shape") or isinstance(values[0], (tuple, list))):
        return shape_of(values[0])
    return values


def _first(args: Mapping[str, Any], number: int = 0) -> Shape:
    """The shape of the first argument, or the second: ``self``, ``input``, ``mat1``."""
    return shape_of(list(args.values())[number])


def _conv(args: Mapping[str, Any], out: Any) -> int:
    """Weight (Cout, Cin / groups, *kernel): every element meets every output position."""
    weight, result = shape_of(args["weight"]), shape_of(out)
    spatial = len(weight) - 2
    return prod(weight) * prod(result[: -spatial - 1]) * prod(result[-spatial:])


def _conv_transpose(args: Mapping[str, Any], out: Any) -> int:
    """Weight (Cin, Cout / groups, *kernel): every element meets every input position."""
    source, weight = shape_of(args["input"]), shape_of(args["weight"])
    spatial = len(weight) - 2
    return prod(weight) * prod(source[: -spatial - 1]) * prod(source[-spatial:])


def _convolution(args: Mapping[str, Any], out: Any) -> int:
    return _conv_transpose(args, out) if args["transposed"] else _conv(args, out)


def _linear(args: Mapping[str, Any], out: Any) -> int:
    """``linear(input, weight, bias)`` with weight (out, in)."""
    return prod(shape_of(out)) * shape_of(args["weight"])[-1]


def _product(args: Mapping[str, Any], out: Any) -> int:
    """``matmul(a, b)`` and its special cases: the inner axis is the last one of a."""
    return prod(shape_of(out)) * _first(args)[-1]


def _added_product(args: Mapping[str, Any], out: Any) -> int:
    """``addmm(bias, a, b)`` and its like."""
    return prod(shape_of(out)) * _first(args, 1)[-1]


def _summed_product(args: Mapping[str, Any], out: Any) -> int:
    """``addbmm(bias, a, b)``: a batch of products, summed."""
    return _first(args, 1)[0] * _added_product(args, out)


def _attention(args: Mapping[str, Any], out: Any) -> int:
    """``scaled_dot_product_attention(q, k, v)``: (.., L, E) with (.., S, E), then with (.., S, V).

    The heads are those of the queries (with grouped queries, keys and values have fewer).
    """
    query, key, value = (shape_of(args[name]) for name in ("query", "key", "value"))
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _einsum(args: Mapping[str, Any], out: Any) -> int:
    """``einsum(equation, tensors)``, contracted two at a time from left to right.

    A pair costs the product of its distinct axes. A single tensor, or a pair with no axis to sum,
    has no products to add up; the latter still counts, as ``bmm`` with an inner axis of 1 does.
    """
    shapes = [shape_of(tensor) for tensor in args["tensors"]]
    inputs, arrow, output = str(args["equation"]).replace(" ", "").partition("->")
    terms = inputs.split(",")
    size: dict[str, int] = {}
    names: list[list[str]] = []
    for term, shape in zip(terms, shapes, strict=True):
        hidden = len(shape) - len(term.replace("...", ""))
        left, dots, right = term.partition("...")
        axes = [*left, *(f".{hidden - i}" for i in range(hidden) if dots), *right]
        names.append(axes)
        for axis, length in zip(axes, shape, strict=True):
            size[axis] = max(length, size.get(axis, 1))
    if arrow:
        kept = set(output.replace("...", ""))
    else:
        kept = {axis for axis in size if sum(term.count(axis) for term in terms) == 1}
    kept |= {axis for axis in size if axis.startswith(".")}
    total, current = 0, set(names[0])
    for index, axes in enumerate(names[1:], start=1):
        current |= set(axes)
        total += prod(size[axis] for axis in current)
        current &= kept.union(*names[index + 1 :])
    return total


def _recurrent(args: Mapping[str, Any], out: Any) -> int:
    """``lstm``, ``gru``, ``rnn_*(input, state, weights, ...)``: every matrix at every time step."""
    rows = prod(shape_of(args["input"])[:-1])
    return rows * sum(prod(shape_of(w)) for w in args["params"] if len(shape_of(w)) == 2)


def _recurrent_cell(args: Mapping[str, Any], out: Any) -> int:
    """``lstm_cell``, ``gru_cell``, ``rnn_*_cell(input, state, w_ih, w_hh, ...)``: one time step."""
    rows = prod(shape_of(args["input"])[:-1])
    return rows * (prod(shape_of(args["w_ih"])) + prod(shape_of(args["w_hh"])))


_RULES: tuple[tuple[Rule, str], ...] = (
    (_conv, "conv1d conv2d conv3d thnn_conv2d _slow_conv2d_forward conv_depthwise3d"),
    (_conv, "_conv_depthwise2d mkldnn_convolution cudnn_convolution slow_conv_dilated2d"),
    (_conv_transpose, "conv_transpose1d conv_transpose2d conv_transpose3d"),
    (_convolution, "convolution _convolution convolution_overrideable"),
    (_linear, "linear"),
    (_product, "matmul mm bmm mv dot vdot inner _int_mm"),
    (_added_product, "addmm addmv baddbmm _addmm_activation"),
    (_summed_product, "addbmm"),
    (_attention, "scaled_dot_product_attention _scaled_dot_product_attention_math"),
    (_attention, "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention"),
    (_attention, "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_cudnn_attention"),
    (_attention, "_scaled_dot_product_fused_attention_overrideable"),
    (_einsum, "einsum"),
    (_recurrent, "lstm gru rnn_relu rnn_tanh"),
    (_recurrent_cell, "lstm_cell gru_cell rnn_relu_cell rnn_tanh_cell"),
)

#: Base name of an ATen op -> the rule that counts its MACs.
COUNTED_OPS: Mapping[str, Rule] = {name: rule for rule, names in _RULES for name in names.split()}

#: Reason -> base names of ops without a rule that count zero. In-place (``relu_``) and ``_copy``
#: forms included.
ZERO_OPS: Mapping[str, frozenset[str]] = {
    reason: frozenset(names.split())
    for reason, names in {
        "elementwise": "absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh divide "
        "true_divide fix glu greater greater_equal isclose isreal less less_equal "
        "log_sigmoid_forward multiply negative not_equal _prelu_kernel rrelu_with_noise subtract "
        "type_as addr outer ger isin bucketize one_hot cross linalg_cross",
        "dropout": "dropout native_dropout alpha_dropout feature_dropout feature_alpha_dropout",
        "normalisation": "native_batch_norm _native_batch_norm_legit "
        "_native_batch_norm_legit_no_training _native_batch_norm_legit_functional "
        "_batch_norm_with_update _batch_norm_no_update cudnn_batch_norm native_layer_norm "
        "native_group_norm _fused_rms_norm norm renorm _weight_norm _weight_norm_interface",
        "pooling": "_adaptive_avg_pool3d fractional_max_pool2d fractional_max_pool3d",
        "interpolation": "__interpolate",
        "softmax": "_safe_softmax _masked_softmax",
        "reduction": "nanmean nansum aminmax std_mean var_mean logcumsumexp count_nonzero trace "
        "diff is_nonzero allclose cosine_similarity quantile sum_to_size",
        "indexing and sorting": "_unsafe_index index_put _unsafe_index_put _index_put_impl "
        "index_add index_fill index_reduce scatter scatter_add scatter_reduce slice_scatter "
        "select_scatter diagonal_scatter as_strided_scatter take take_along_dim masked_select "
        "masked_scatter nonzero nonzero_static embedding_bag _embedding_bag msort "
        "unique_consecutive _unique2 searchsorted",
        "moving data": "concat concatenate stack hstack vstack dstack column_stack _pad_circular "
        "native_channel_shuffle rot90 fliplr flipud tile tril triu diag diag_embed meshgrid "
        "broadcast_tensors atleast_1d atleast_2d atleast_3d block_diag t transpose unbind split "
        "split_with_sizes _reshape_copy _unsafe_view unsafe_chunk unsafe_split "
        "unsafe_split_with_sizes copy lift lift_fresh to_dense _fused_sdp_choice set resize view",
        "creation": "empty empty_like empty_strided empty_permuted full_like ones_like "
        "zeros_like zero fill new_empty new_empty_strided new_full new_ones new_zeros arange "
        "linspace logspace eye range scalar_tensor tensor rand rand_like randn randn_like randint "
        "randint_like randperm bernoulli normal uniform exponential tril_indices triu_indices "
        "bartlett_window blackman_window hamming_window hann_window kaiser_window fft_fftfreq "
        "fft_rfftfreq",
        "pairs of numbers": "complex polar fft_fftshift fft_ifftshift",
        "sizes and checks": "size sym_size sym_numel sym_stride sym_storage_offset numel item "
        "_local_scalar_dense sym_constrain_range sym_constrain_range_for_size _assert_scalar "
        "_assert_async _assert_tensor_metadata _functional_assert_async is_same_size "
        "_functional_assert_scalar is_floating_point dim requires_grad",
    }.items()
}

#: Why the cost of an op that a network may call is not known.
UNKNOWN: Mapping[str, frozenset[str]] = {
    reason: frozenset(names.split())
    for reason, names in {
        "capture writes it as products and sums, which are counted": "bilinear cdist linalg_norm "
        "linalg_vecdot pairwise_distance tensordot",
        "the multiplications of a transform depend on the algorithm": ""
        "fft_fft2 fft_ifft2 fft_irfft fft_irfft2 fft_rfft fft_rfft2 "
        "fft_fft fft_fftn fft_hfft fft_ifft fft_ifftn fft_ihfft fft_irfftn fft_rfftn "
        "stft",
        "the multiplications of a factorisation depend on the algorithm": "linalg_cholesky "
        "linalg_cholesky_ex linalg_det linalg_eigh linalg_eigvalsh linalg_inv "
        "linalg_inv_ex linalg_matrix_exp linalg_matrix_power linalg_pinv linalg_qr "
        "linalg_slogdet linalg_solve linalg_solve_triangular linalg_svd linalg_svdvals "
        "_cdist_forward",
    }.items()
}

_FREE = frozenset().union({name.split(".")[1] for name in TABLE}, *ZERO_OPS.values())


def is_free(target: torch._ops.OpOverload) -> bool:
    """True if igc knows that the op counts zero MACs."""
    name = base_name(target)
    if name in COUNTED_OPS:
        return False
    if (
        not _FREE.isdisjoint((name, name.removesuffix("_copy")))
        or torch.Tag.pointwise in target.tags
    ):
        return True
    returns = target._schema.returns
    return bool(returns) and all(
        r.alias_info is not None and not r.alias_info.is_write for r in returns
    )


def op_macs(target: Any, args: Sequence[Any], out: Any) -> int | None:
    """The MACs of one call of an ATen op, from shapes alone; None if its cost is not known.

    ``target`` is an ``OpOverload`` such as ``torch.ops.aten.conv2d.default``. ``args`` are its
    positional arguments in schema order, every tensor given as a tensor (real, fake or meta) or as
    its shape; ``out`` is the result in the same terms. Of a graph node these are the nodes'
    ``meta["val"]``. Python operators on sizes (``operator.getitem``, ``operator.mul``) are free.
    """
    if not isinstance(target, torch._ops.OpOverload):
        module = getattr(target, "__module__", None)
        return 0 if module in ("_operator", "math", "builtins") else None
    # Names of other namespaces (torchvision::deform_conv2d) say nothing that we know.
    if target.namespace not in ("aten", "prim"):
        return None
    rule = COUNTED_OPS.get(base_name(target))
    if rule is not None:
        return rule(dict(zip(parameters(target), args, strict=False)), out)
    return 0 if is_free(target) else None
