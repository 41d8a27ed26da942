"""What Python decides by constants while torch exports a module: told by their real values.

torch.export traces tensors without values. A forward that asks one for its value (`if gate > 0:`,
`mask.nonzero()`, `alpha.tolist()`, `x[:, mask]`) is then refused, although a tensor that is made of
parameters and buffers alone has one. Here it is computed beside the trace, by the same calls on the
real tensors, and given where Python or a shape asks for it; all else is traced as ever. A value
that the input determines stays refused, with the line that asked.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakTensorKeyDictionary

from igc.capture.asked import (
    ASKING,
    DECIDING,
    UNANSWERED,
    asking_line,
    has_mask,
    is_mask,
    last_line,
    refused,
)

# Attributes of a tensor that are tensors; all others tell its type and shape, which is no value.
TENSORS_OF_TENSORS = frozenset({"data", "T", "mT", "H", "mH", "real", "imag"})
FACTS = frozenset({
    "size", "dim", "ndimension", "nelement", "numel", "stride", "storage_offset", "is_contiguous",
    "__len__", "requires_grad_", "register_hook", "is_floating_point", "is_complex", "is_signed",
    "is_tensor", "untyped_storage", "data_ptr", "element_size", "get_device", "_is_view",
    "is_conj", "is_neg", "is_inference", "__hash__", "__repr__", "result_type", "__deepcopy__",
    "__set__",
})  # fmt: skip
PLAIN = (Tensor, nn.Parameter, nn.Buffer)
# Made of numbers alone. `empty` is not among them: what it holds is no number of the network's.
MADE_OF_NUMBERS = frozenset({
    "zeros", "ones", "full", "arange", "tensor", "as_tensor", "asarray", "eye", "linspace",
    "logspace", "from_numpy", "tril_indices", "triu_indices", "scalar_tensor", "BoolTensor",
    "LongTensor", "FloatTensor", "IntTensor", "ByteTensor",
})  # fmt: skip


@contextmanager
def constants_known(module: nn.Module) -> Iterator[list[str]]:
    """Within, what Python asks of tensors made of the module's parameters and buffers is answered.

    For a trace that gives these to the module as fake tensors, as torch.export does. Yields the
    list of lines that asked for other values; raises `Refused` where the trace ends with one.
    """
    own = {id(t): t for t in (*module.parameters(), *module.buffers())}
    mode = _Decided()
    original = FakeTensorMode.from_tensor

    def from_tensor(self: FakeTensorMode, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        fake = original(self, tensor, *args, **kwargs)
        if id(tensor) in own and isinstance(fake, FakeTensor):
            mode.own[fake] = tensor
        return fake

    FakeTensorMode.from_tensor = from_tensor  # type: ignore[method-assign]
    try:
        with mode, _torch_is_silent():
            yield mode.asked
    except UNANSWERED as error:
        raise refused(last_line(error)) from error
    finally:
        FakeTensorMode.from_tensor = original  # type: ignore[method-assign]


@contextmanager
def _torch_is_silent() -> Iterator[None]:
    """torch prints the whole graph where a value is not known: the error has the line instead."""
    said = io.StringIO()
    with redirect_stderr(said):
        yield
    sys.stderr.write(said.getvalue())


@dataclass
class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What kinds of operations a call ran: random ones, and those whose shape hangs on values."""

    random: bool = False
    asks: bool = False

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        tags = func.tags
        self.random |= torch.Tag.nondeterministic_seeded in tags
        by_shape = torch.Tag.dynamic_output_shape in tags
        if func is torch.ops.aten.index.Tensor:  # by a mask, but not by numbers
            by_shape = any(is_mask(i) for i in args[1] if i is not None)
        self.asks |= by_shape or torch.Tag.data_dependent_output in tags
        return func(*args, **(kwargs or {}))


@dataclass
class _Decided(TorchFunctionMode):
    """The real values of the tensors that are made of constants alone, call by call.

    `own` are the module's tensors by their fake ones, `real` the values of those in the trace;
    in `spoilt` are the storages of values into which something was written that depends on inputs;
    `asked` has the lines that asked for values that are not known.
    """

    own: Any = field(default_factory=WeakTensorKeyDictionary)
    real: Any = field(default_factory=WeakTensorKeyDictionary)
    spoilt: set[int] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        name = _name(func)
        if name in FACTS or (name == "__get__" and _attribute(func) not in TENSORS_OF_TENSORS):
            return func(*args, **given)
        tensors = [v for v in pytree.tree_leaves((args, given)) if isinstance(v, Tensor)]
        values = [self.value(t) for t in tensors]
        if all(v is not None for v in values) and (tensors or name in MADE_OF_NUMBERS):
            return self._of_constants(func, args, given)
        if name in ("__getitem__", "__setitem__") and values[0] is None:
            args = (args[0], self._by_numbers(args[1]), *args[2:])
        if name == "repeat_interleave" and values[0] is None:
            func, args, given = self._spelled_out(func, args, given)
        by_shape = name == "where" and len(args) == 1 and not given
        if name in ASKING or by_shape or (name == "__getitem__" and has_mask(args[1])):
            self.asked.append(asking_line(sys._getframe(1)))
            if name in DECIDING:
                raise refused(self.asked[-1])
        known = [(t, v, t._version) for t, v in zip(tensors, values, strict=True) if v is not None]
        result = func(*args, **given)
        for tensor, value, version in known:
            if tensor._version != version:
                self.spoilt.add(value.untyped_storage()._cdata)
        return result

    def value(self, tensor: Tensor) -> Tensor | None:
        """The real value of a tensor in the trace; None where the inputs determine it."""
        value: Tensor | None = self.real.get(tensor)
        if value is None:
            source = self.own.get(tensor)
            if source is None and not isinstance(tensor, FakeTensor) and type(tensor) in PLAIN:
                source = tensor
            if source is None:
                return None
            with _disable_current_modes():
                value = self.real[tensor] = source.detach().clone()
        return None if value.untyped_storage()._cdata in self.spoilt else value

    def _of_constants(self, func: Callable[..., Any], args: Any, given: dict[str, Any]) -> Any:
        def look(value: Any) -> Any:
            return self.value(value) if isinstance(value, Tensor) else value

        seen = _Seen()
        if any(isinstance(v, torch.types.py_sym_types) for v in pytree.tree_leaves((args, given))):
            return func(*args, **given)  # its shape is up to the inputs
        try:
            with _disable_current_modes(), torch.no_grad(), seen:
                real_args, real_given = pytree.tree_map(look, (args, given))
                found = func(*real_args, **real_given)
        except Exception:  # torch raises many kinds; the trace raises its own
            return func(*args, **given)
        leaves = [v for v in pytree.tree_leaves(found) if v is not None]
        tensors = [v for v in leaves if isinstance(v, Tensor)]
        if not seen.random and (seen.asks or (leaves and not tensors)):
            return pytree.tree_map(self._traced, found)
        result = func(*args, **given)
        if not seen.random:
            traced = [v for v in pytree.tree_leaves(result) if isinstance(v, Tensor)]
            if len(traced) == len(tensors):
                for fake, value in zip(traced, tensors, strict=True):
                    self.real[fake] = value
        return result

    def _traced(self, value: Any) -> Any:
        """A value that was asked for: as it is, or as a constant of the graph."""
        if not isinstance(value, Tensor):
            return value
        fake = torch.clone(value)
        self.real[fake] = value
        return fake

    def _spelled_out(self, func: Any, args: Any, given: dict[str, Any]) -> Any:
        """`repeat_interleave(x, repeats, dim)` of a constant number for each entry: a gather."""
        bound = dict(zip(("self", "repeats", "dim"), args, strict=False)) | given
        x, repeats, dim = bound.get("self"), bound.get("repeats"), bound.get("dim")
        counts = self.value(repeats) if isinstance(repeats, Tensor) else None
        if x is None or counts is None or not isinstance(dim, int):
            return func, args, given
        with _disable_current_modes():
            size = len(counts) if counts.numel() > 1 else x.shape[dim]
            places = torch.arange(size).repeat_interleave(counts.reshape(-1).cpu())
        return torch.index_select, (x, dim, self._traced(places)), {}

    def _by_numbers(self, places: Any) -> Any:
        """An index in which constant masks are the places where they are true."""
        several = isinstance(places, tuple)
        found: list[Any] = []
        for place in places if several else (places,):
            value = self.value(place) if isinstance(place, Tensor) else None
            if value is None or not is_mask(value) or not value.ndim:
                found.append(place)
                continue
            with _disable_current_modes():
                numbers = value.nonzero(as_tuple=True)
            found.extend(self._traced(n) for n in numbers)
        return tuple(found) if several or len(found) > 1 else found[0]


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", ""))


def _attribute(func: Any) -> str:
    """The name of the attribute that a getter gets."""
    return str(getattr(getattr(func, "__self__", None), "__name__", ""))
