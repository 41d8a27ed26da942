"""Hooks of a backbone: which run in the gated network as they did, and which cannot.

Forward hooks run while tracing (or with the module, where it stays whole) and tensor hooks become
part of the graph. A hook that reaches a module or a weight beside what it was put on would use
the backbone's own, not the branches' copies; a backward hook needs its module's call. Both are
refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from igc.errors import BadInput
from igc.nn.proxies import recorded

HOOKS = "igc_hooks"  # node.meta: the `Hooked` of the node's value, in the order of registration


@dataclass(frozen=True, eq=False)
class Hooked:
    """Puts `hook` on a tensor, where gradients are computed, and returns the tensor."""

    hook: Callable[[Tensor], Tensor | None]

    @property
    def __name__(self) -> str:
        return "hooked"

    def __eq__(self, other: object) -> bool:
        """Two traces of one `lambda` make two functions of the same code."""
        return isinstance(other, Hooked) and (
            self.hook == other.hook or _parts(self.hook) == _parts(other.hook)
        )

    def __hash__(self) -> int:
        return hash(getattr(self.hook, "__code__", self.hook))

    def __call__(self, x: Any) -> Any:
        if isinstance(x, fx.Proxy):  # the gated network itself may be traced
            return recorded(x, self, (x,), {})
        if x.requires_grad:
            x.register_hook(self.hook)
        return x


def _parts(hook: Any) -> tuple[Any, ...]:
    code = getattr(hook, "__code__", None)
    if code is None:
        return (hook,)
    return code, hook.__defaults__, [cell.cell_contents for cell in hook.__closure__ or ()]


def hooked(hook: Any) -> Hooked:
    """Returns what a node calls for `x.register_hook(hook)`; raises BadInput for what reaches out.

    What it reaches may be traced itself, a module or a weight.
    """
    name = _reaches(hook, lambda value: isinstance(value, fx.Proxy | nn.Module))
    if name:
        raise BadInput(
            f"the backbone registers a hook on a tensor, and the hook reads `{name}`, which each "
            "branch has for itself: write the hook as a torch.autograd.Function and hand it over"
        )
    return Hooked(hook)


def check_traced_through(path: str, module: nn.Module) -> None:
    """Raises BadInput for a backward hook on a module whose call is not kept."""
    if module._backward_hooks or module._backward_pre_hooks:
        raise BadInput(
            f"{_named(path)} has a backward hook, which igc.gate cannot keep on a module "
            "that it looks into: remove it (handle.remove()), put it on the layers of torch.nn "
            "inside, or write it as a torch.autograd.Function in the forward"
        )


def check_kept_whole(path: str, module: nn.Module) -> None:
    """Raises BadInput for a hook of a module that is kept whole and reaches beyond it."""
    for inner_path, inner in module.named_modules(prefix=path):
        own = set(inner.modules())
        for hook in _hooks(inner):
            name = _reaches(hook, _beside(own))
            if name:
                raise BadInput(
                    f"a hook on {_named(inner_path)} reads `{name}`, which each branch has for "
                    "itself: let the hook use its own module alone, or write it into the forward"
                )


def check_parameters(backbone: nn.Module) -> None:
    """Raises BadInput for hooks of parameters that the branches' copies cannot have."""
    for name, parameter in backbone.named_parameters():
        if getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise BadInput(
                f"parameter '{name}' of the backbone has a hook that runs after its gradient is "
                "there: remove it, and register it on the gated network's parameters"
            )
        for hook in (parameter._backward_hooks or {}).values():
            reached = _reaches(hook, _beside(set()))
            if reached:
                raise BadInput(
                    f"a hook on parameter '{name}' of the backbone reads `{reached}`, which each "
                    "branch has for itself: register it on the gated network's parameters"
                )


def _beside(own: set[nn.Module]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, nn.Module) and value not in own


def _named(path: str) -> str:
    return f"module '{path}'" if path else "the backbone"


def _hooks(module: nn.Module) -> Iterator[Any]:
    for kind in ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"):
        yield from getattr(module, kind).values()


def _reaches(hook: Any, foreign: Callable[[Any], bool]) -> str:
    """Returns the name under which `hook` holds a foreign value or a trained tensor, or ""."""
    for name, value in _held(hook, set()):
        if foreign(value) or (isinstance(value, Tensor) and value.requires_grad):
            return name
    return ""


def _held(hook: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Names and values that a callable holds: closure, globals, bound object, arguments."""
    if id(hook) in seen:
        return
    seen.add(id(hook))
    found: list[tuple[str, Any]] = []
    if isinstance(hook, functools.partial):
        found = [("func", hook.func), *(("args", a) for a in hook.args), *hook.keywords.items()]
    elif hasattr(hook, "__func__"):
        found = [("self", hook.__self__), ("func", hook.__func__)]
    elif hasattr(hook, "__code__"):
        cells = zip(hook.__code__.co_freevars, hook.__closure__ or (), strict=True)
        found = [(name, cell.cell_contents) for name, cell in cells]
        names = hook.__code__.co_names
        found += [(name, hook.__globals__[name]) for name in names if name in hook.__globals__]
    elif not isinstance(hook, type | nn.Module):
        found = list(getattr(hook, "__dict__", {}).items())
    for name, value in found:
        yield name, value
        if callable(value) and not isinstance(value, type | nn.Module | fx.Proxy):
            yield from _held(value, seen)
