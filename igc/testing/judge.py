"""One call that judges a compiler on one network: equal, and no larger than it must be."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor, nn

import igc
from igc.testing.builder import build
from igc.testing.oracle import (
    assert_equal,
    assert_minimal,
    kernel_elements,
    kernels_of,
    needed_count,
    needed_elements,
)
from igc.testing.spec import Spec, exact

Compiler = Callable[[nn.Module, tuple[Tensor, ...]], nn.Module]


def compile_double(
    net: nn.Module, inputs: Sequence[Tensor], compiler: Compiler | None = None
) -> nn.Module:
    """The static network of a float64 copy, so that folded numbers round in float64 too."""
    examples = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    double = copy.deepcopy(net).double().eval()
    return igc.compile(double, examples) if compiler is None else compiler(double, examples)


def check(spec: Spec, compiler: Compiler | None = None) -> None:
    """Fails with the spec's source unless its network compiles equal and minimal.

    Where the gradient does not count the minimum (`igc.testing.spec.exact`) the compiled network
    must only hold no more kernel elements than the gated one, and none less than needed unless
    constants could be folded away. `compiler` is `igc.compile` by default.
    """
    net, inputs = build(spec)
    try:
        static = compile_double(net, inputs, compiler)
        assert_equal(net, static, inputs, batches=(1, 3))
        if exact(spec):
            assert_minimal(net, static, inputs, draws=3)
        else:
            assert_bounded(spec, net, static, inputs)
    except Exception as error:
        kind = AssertionError if isinstance(error, AssertionError) else RuntimeError
        first = str(error) if kind is AssertionError else f"{type(error).__name__}: {error}"
        raise kind(f"{first}\nspec to reproduce:\n{spec!r}") from error


def assert_bounded(spec: Spec, net: nn.Module, static: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Fails unless `static` holds between the needed and all of the kernel elements of `net`."""
    have, whole = kernel_elements(static), kernel_elements(_apart(spec))
    assert have <= whole, f"static holds {have} kernel elements, the gated network only {whole}"
    foldable = any(n.op in ("coords", "offset") or n.tied or n.like for n in spec.nodes)
    if spec.weights == "generic" and not foldable:
        needed = needed_count(needed_elements(net, inputs, draws=3, dead_zones=True))
        held = [f"  {n} {tuple(p.shape)}" for n, p in kernels_of(static).items()]
        assert have >= needed, "\n".join([f"static holds {have} of {needed} needed", *held])


def _apart(spec: Spec) -> nn.Module:
    """The network with a module of its own for every use: slices of one kernel may differ."""
    nodes = tuple(replace(n, tied=False, like=0) for n in spec.nodes)
    return build(replace(spec, nodes=nodes, weights="generic"))[0]
