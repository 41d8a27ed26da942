"""What a gated network needs, and whether another network computes the same with no more.

The measure is independent of igc's engine. A kernel element is *needed* iff the gradient of some
random combination of the outputs with respect to it is non-zero for some random input, in float64.
Gates written as multiplications by 0 and 1, `where`, `lerp` or `masked_fill` give gradients that
are exactly zero behind a closed gate, so no tolerance is used.

Where the measure does not equal the minimum:

- grouped convolutions and group norms keep groups of equal width (more elements than needed);
- a constant non-zero channel has a non-zero gradient in the kernel that reads it, yet may be folded
  into that kernel's bias (fewer elements than needed);
- zero or denormal weights, and weights that one module applies in two places.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igc.program.returned import structured, tensors_of
from igc.testing.dead_zones import NoDeadZones

InputsFn = Callable[[torch.Generator], Sequence[Tensor]]
Inputs = Sequence[Tensor] | InputsFn

# Parts of the names of gates, of mixes, and of tables that are added to features, as biases are: no
# kernels, and a table sliced to one channel would not even span two axes.
APART = ("alpha", "beta", "position")
SCALES = (1.0, 3.0, 0.3)
LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip


def draw_inputs(
    example: Sequence[Tensor],
    generator: torch.Generator,
    *,
    batch: int | None = None,
    scale: float = 1.0,
) -> tuple[Tensor, ...]:
    """Random inputs shaped like `example`: normal float64, or integers no larger than its own.

    `batch` replaces the first size of every input.
    """

    def one(like: Tensor) -> Tensor:
        shape = list(like.shape)
        if batch is not None and shape:
            shape[0] = batch
        if like.dtype.is_floating_point:
            return scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        high = 2 if like.dtype is torch.bool else int(like.max()) + 1
        return torch.randint(0, high, shape, generator=generator).to(like.dtype)

    return tuple(one(t) for t in example)


def in_double(module: nn.Module) -> nn.Module:
    """A float64 copy of `module` in evaluation mode."""
    return copy.deepcopy(module).double().eval()


def is_gate(name: str, exclude: Sequence[str] = APART) -> bool:
    """Whether a parameter's dotted name has a part that is one of `exclude`, or its plural."""
    parts = re.split(r"[._]", name)
    return any(p in exclude or p.removesuffix("s") in exclude for p in parts)


def needed_elements(
    module: nn.Module,
    inputs: Inputs,
    *,
    draws: int = 6,
    seed: int = 0,
    exclude: Sequence[str] = APART,
    vectors: bool = False,
    dead_zones: bool = False,
) -> dict[str, Tensor]:
    """Which elements of each kernel have a non-zero gradient for some input: name -> bool mask.

    Kernels are those of `kernels_of`; `vectors` takes every floating parameter that is no gate or
    mix (`exclude` lists parts of their names). `inputs` is an example to draw normal inputs like,
    or a function of a generator that returns inputs. With `dead_zones` the activations are left as
    they are, and an element behind a ReLU that no draw switched on counts as not needed; without,
    see `igc.testing.dead_zones`.
    """
    net = in_double(module)
    chosen: Iterable[tuple[str, nn.Parameter]] = _kernels(net, exclude)
    if vectors:
        chosen = [(n, p) for n, p in net.named_parameters() if not is_gate(n, exclude)]
    kernels = {name: p for name, p in chosen if p.is_floating_point()}
    for name, p in net.named_parameters():
        p.requires_grad_(name in kernels)
    generator = torch.Generator().manual_seed(seed)
    needed = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in kernels.items()}
    if not kernels:
        return needed
    for draw in range(draws):
        if callable(inputs):
            args = tuple(inputs(generator))
        else:
            args = draw_inputs(inputs, generator, scale=SCALES[draw % len(SCALES)])
        with nullcontext() if dead_zones else NoDeadZones():
            outputs = [o for o in tensors_of(net(*args)) if _differentiable(o)]
        if not outputs:
            break
        cotangents = [torch.randn(o.shape, generator=generator, dtype=o.dtype) for o in outputs]
        grads = torch.autograd.grad(outputs, list(kernels.values()), cotangents, allow_unused=True)
        for name, grad in zip(kernels, grads, strict=True):
            if grad is not None:
                needed[name] |= grad != 0
    return needed


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def needed_count(needed: dict[str, Tensor]) -> int:
    """How many elements are needed in all."""
    return sum(int(mask.sum()) for mask in needed.values())


def kernels_of(module: nn.Module, exclude: Sequence[str] = APART) -> dict[str, Tensor]:
    """The kernels a network holds, by name, each shared tensor once.

    These are the weights of its convolutions and linear layers, and every other floating parameter
    that is a matrix or spans two axes or more, gates and mixes excepted. A vector viewed as
    1 x C x 1 x 1 does not span two, nor does a class token of 1 x 1 x C: they are added to
    features, as biases are, and whoever counts them has to count them on both sides.
    """
    found: dict[str, Tensor] = {}
    seen: set[tuple[int, int]] = set()
    for name, p in _kernels(module, exclude):
        key = (p.data_ptr(), p.numel())
        if p.numel() and key not in seen:
            seen.add(key)
            found[name] = p
    return found


def _kernels(module: nn.Module, exclude: Sequence[str]) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of every kernel, as `kernels_of` defines them; each parameter once."""
    met: set[int] = set()
    for prefix, sub in module.named_modules():
        for short, p in sub.named_parameters(recurse=False):
            name = f"{prefix}.{short}" if prefix else short
            layer = isinstance(sub, LAYERS) and short == "weight"
            spans = p.ndim == 2 or sum(n > 1 for n in p.shape) >= 2
            free = spans and p.is_floating_point() and not is_gate(name, exclude)
            if (layer or free) and id(p) not in met:
                met.add(id(p))
                yield name, p


def kernel_elements(module: nn.Module, exclude: Sequence[str] = APART) -> int:
    """How many kernel elements a network holds (see `kernels_of`)."""
    return sum(p.numel() for p in kernels_of(module, exclude).values())


def assert_minimal(
    gated: nn.Module, static: nn.Module, inputs: Inputs, *, draws: int = 6, seed: int = 0
) -> None:
    """Fails unless `static` holds exactly as many kernel elements as `gated` needs."""
    needed = needed_elements(gated, inputs, draws=draws, seed=seed)
    want, have = needed_count(needed), kernel_elements(static)
    if want == have:
        return
    what = "too many" if have > want else "too few"
    rows = [f"{what} kernel elements: static holds {have}, the gated network needs {want}"]
    rows += ["needed of the gated network's kernels (rows x columns of the bounding box):"]
    rows += [f"  {n} {tuple(m.shape)}: {int(m.sum())} {_box(m)}" for n, m in needed.items()]
    rows += ["held by the static network:"]
    rows += [f"  {n} {tuple(p.shape)}: {p.numel()}" for n, p in kernels_of(static).items()]
    raise AssertionError("\n".join(rows))


def _box(mask: Tensor) -> str:
    if not mask.any():
        return "(none)"
    axes = [tuple(a for a in range(mask.ndim) if a != axis) for axis in (0, 1)]
    rows, columns = (int(mask.any(dim=other).sum()) if other else mask.numel() for other in axes)
    return f"({rows} x {columns} of {mask.shape[0]} x {mask.shape[1]})"


def assert_equal(
    gated: nn.Module,
    static: nn.Module,
    inputs: Sequence[Tensor],
    *,
    tolerance: float = 1e-10,
    batches: Sequence[int] = (2, 5),
    seed: int = 0,
) -> None:
    """Fails unless both networks return the same structure and numbers, in float64.

    Compared at each batch size of `batches` (the first size of every input) on normal inputs. The
    error of an output is max |difference| / max |gated output|, or the difference itself where
    the gated output is all zero.
    """
    reference, candidate = in_double(gated), in_double(static)
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        args = draw_inputs(inputs, generator, batch=batch)
        with torch.no_grad():
            want = reference(*[a.clone() for a in args])
            have = candidate(*[a.clone() for a in args])
        compare_outputs(want, have, tolerance, f"batch {batch}")


def compare_outputs(want: Any, have: Any, tolerance: float, where: str) -> None:
    """Fails unless two pytrees of tensors have the same structure, shapes, dtypes and numbers."""
    wants, want_spec = pytree.tree_flatten_with_path(structured(want))
    haves, have_spec = pytree.tree_flatten_with_path(structured(have))
    if want_spec != have_spec:
        raise AssertionError(
            f"{where}: structure differs\n  gated  {want_spec}\n  static {have_spec}"
        )
    faults: list[str] = []
    for (path, a), (_, b) in zip(wants, haves, strict=True):
        name = pytree.keystr(path) or "output"
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            if type(a) is not type(b) or a != b:
                faults.append(f"{name}: {a!r} became {b!r}")
            continue
        if a.shape != b.shape or a.dtype != b.dtype:
            faults.append(f"{name}: {a.dtype} {tuple(a.shape)} became {b.dtype} {tuple(b.shape)}")
            continue
        error = relative_error(a, b)
        if not error <= tolerance:
            twin = next((pytree.keystr(p) for p, o in wants if o is not a and _same(o, b)), None)
            hint = f" (it is the gated network's {twin}: outputs swapped)" if twin else ""
            at = tuple(int(i) for i in _worst(a, b))
            faults.append(
                f"{name} {tuple(a.shape)}: relative error {error:.3g} > {tolerance:.1g}, worst at "
                f"{at}: gated {a[at].item():.9g}, static {b[at].item():.9g}{hint}"
            )
    if faults:
        raise AssertionError(f"{where}: outputs differ\n  " + "\n  ".join(faults))


def relative_error(want: Tensor, have: Tensor) -> float:
    """max |want - have| / max |want| over the finite entries; inf where the others differ."""
    if want.numel() == 0:
        return 0.0
    a, b = want.detach().double(), have.detach().double()
    finite = torch.isfinite(a)
    if not torch.equal(finite, torch.isfinite(b)):
        return float("inf")
    if not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return float("inf")
    if not finite.any():
        return 0.0
    difference = float((a - b)[finite].abs().max())
    largest = float(a[finite].abs().max())
    return difference / largest if largest > 0 else difference


def _same(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and relative_error(a, b) <= 1e-6


def _worst(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    difference = (a.double() - b.double()).abs().nan_to_num(nan=float("inf"))
    return torch.unravel_index(difference.argmax(), a.shape)
