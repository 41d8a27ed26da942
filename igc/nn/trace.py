"""Backbone -> graph: `torch.fx` tracing that keeps PyTorch's own modules whole.

Tracing is symbolic. With example inputs every node also carries its value as a fake tensor (a
shape and a dtype, no data), and where the backbone's Python asks a question of a shape
(`if x.shape[1] % 2`, `range(x.size(1))`), the example answers it; without, that is an error.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from igc.errors import BadInput, first_line
from igc.nn.einops_calls import is_einops_layer, loaded_einops, traced_einops
from igc.nn.examples import Examples
from igc.nn.factories import traced_factories
from igc.nn.functions import traced_functions
from igc.nn.hooks import check_kept_whole, check_traced_through
from igc.nn.instances import traced_instances
from igc.nn.random_draws import Draws
from igc.nn.regions import REGION, Regions
from igc.nn.traced_values import Answering, Assignable
from igc.nn.wrappers import compiled_inside, inside

PATH = "igc_path"  # node.meta: path of the module in whose forward the op or the call stands


@dataclass
class Traced:
    """What tracing learned: the graph, and what every module call returned, by module path.

    `random`: the modules whose Python drew random numbers, which the graph holds as they fell.
    `asked`: the lines of Python that the example answered a question on numbers for.
    """

    root: nn.Module
    graph: fx.Graph
    calls: dict[str, list[Any]] = field(default_factory=dict)
    random: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def module(self, path: str) -> nn.Module:
        return self.root.get_submodule(path)


def trace(
    root: nn.Module,
    example_inputs: tuple[Any, ...] | None = None,
    leaves: frozenset[str] = frozenset(),
) -> Traced:
    """Returns the graph of `root.forward`; modules of torch.nn and those in `leaves` stay whole.

    Arguments of forward that have a default keep it, unless `example_inputs` reaches them.
    Raises BadInput naming the line of the backbone that cannot be traced.
    """
    tracer = _Tracer(example_inputs, leaves)
    try:
        with tracer.patched():
            graph = tracer.trace(root)
    except BadInput:
        raise
    except Exception as error:  # whatever the user's forward raises when it meets a proxy
        raise BadInput(_untraceable(error, example_inputs is None)) from error
    asked = [] if tracer.examples is None else tracer.examples.asked
    return Traced(root, graph, tracer.calls, tracer.draws.paths, asked)


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(self, example_inputs: tuple[Any, ...] | None, leaves: frozenset[str]) -> None:
        wrapped: Any = (math, *loaded_einops())
        super().__init__(autowrap_modules=wrapped)
        self.leaves = leaves
        self.calls: dict[str, list[Any]] = {}
        self.stack = [""]
        self.regions = Regions()
        self.examples = None if example_inputs is None else Examples(example_inputs)
        self.draws = Draws()  # last: what igc itself imports may draw

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Within, what torch.fx would trace through or not see becomes nodes."""
        with ExitStack() as stack:
            for patch in (traced_factories, traced_functions, traced_einops, traced_instances):
                stack.enter_context(patch())
            stack.enter_context(compiled_inside())
            stack.enter_context(self.regions.watched())
            yield

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Optional arguments beyond the given ones are not inputs: they keep their default.

        The root is called as a module is, with its hooks, and without any `**kwargs`.
        """
        parameters = list(inspect.signature(root_fn).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise BadInput(
                    f"the backbone's forward takes *{parameter.name}: "
                    "igc.gate needs its inputs spelled out"
                )
        _, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
            self.graph.erase_node(args.pop().node)
            parameters.pop()
        given = 0 if self.examples is None else self.examples.count
        for position, parameter in enumerate(parameters, start=1):
            if position > given and parameter.default is not parameter.empty:
                self.graph.erase_node(args[position].node)
                args[position] = parameter.default
        by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

        def call(root: nn.Module, *values: Any) -> Any:
            check_traced_through("", root)
            first = len(values) - len(by_name)
            keywords = dict(zip(by_name, values[first:], strict=True))
            as_module: Any = root._call_impl  # with its hooks, and unseen by call_module
            result = as_module(*values[:first], **keywords)
            self.draws.blame("")
            return result

        return call, args

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            module_qualified_name in self.leaves
            or is_einops_layer(m)
            or super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._is_evaluating():
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        self.draws.blame(self.stack[-1])
        if (network := inside(m)) is not None:
            result = network(*args, **kwargs)
        elif self.is_leaf_module(m, path):
            check_kept_whole(path, m)
            result = super().call_module(m, forward, args, kwargs)
            self.draws.forget()
        else:
            check_traced_through(path, m)
            self.stack.append(path)
            result = super().call_module(m, forward, args, kwargs)
            self.draws.blame(self.stack.pop())
        self.calls.setdefault(path, []).append(result)
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._is_evaluating():
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any
    ) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, *rest, **more)
        node.meta[PATH] = self.stack[-1]
        if (region := self.regions.current) is not None:
            node.meta[REGION] = region
        if self.examples is not None:
            self.draws.blame(self.stack[-1])
            self.examples.evaluate(node, self.root)
            self.draws.forget()
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Assignable(node, self) if self.examples is None else Answering(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return (
            super().to_bool(obj) if self.examples is None else bool(self.examples.answer(obj.node))
        )

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of `x.chunk(3)` are three, with or without an example."""
        count = obj.node.args[1] if len(obj.node.args) > 1 else obj.node.kwargs.get("chunks")
        if obj.node.target in ("chunk", torch.chunk) and isinstance(count, int):
            sliceable: Any = obj
            return (sliceable[i] for i in range(count))
        parts: Iterator[Any] = super().iter(obj)
        return parts

    def _is_evaluating(self) -> bool:
        return self.examples is not None and self.examples.calling


def _untraceable(error: Exception, no_example: bool) -> str:
    torch_home = str(Path(torch.__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((torch_home, str(Path(__file__).parent)))
    ]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "its forward"
    line = f" `{frames[-1].line}`" if frames and frames[-1].line else ""
    reason = first_line(error)
    if (
        f"found type '{Assignable.__name__}'" in reason
        or f"found type '{Answering.__name__}'" in reason
    ):
        return (
            f"the backbone calls a function that torch.jit has compiled at {where}{line}: "
            "call it as it was before torch.jit.script"
        )
    advice = (
        "pass example_inputs= so that shapes are known, or " if no_example else ""
    ) + "write that line without control flow on tensors, or build the network with igc.nn by hand"
    return f"the backbone cannot be traced at {where}{line} ({reason}): {advice}"
