"""From a `Spec` to the gated network it describes, with all its numbers drawn from `spec.seed`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from igc.testing.gating import Mixer, logits, mask_of, open_gates, select
from igc.testing.heads import HEADS
from igc.testing.layers import BATCH_NORMS, Layer
from igc.testing.spec import EDGE, VOCABULARY, Head, Node, Shape, Spec
from igc.testing.units import UNITS, can_mask, shapes_of

RETURNS = ("tuple", "list", "dict", "nested", "single")


class GatedNode(nn.Module):
    """One node of the graph: its module for the shared branch and for each task, gate and mix."""

    def __init__(
        self,
        node: Node,
        reads: Sequence[Shape],
        out: Shape,
        spec: Spec,
        like: GatedNode | None = None,
    ) -> None:
        super().__init__()
        self.out, self.reads, self.mask = out, node.reads, spec.mask
        self.idiom = node.gate
        if node.gate == "weight_mask" and not can_mask(node, out):
            self.idiom = "mul_add"
        unit = UNITS[node.op]
        shared = like.shared if like else unit.make(node, reads, out)
        makes = [shared if node.tied else unit.make(node, reads, out) for _ in spec.heads]
        self.shared: nn.Module = shared
        self.branches: nn.ModuleList = like.branches if like else nn.ModuleList(makes)
        if not self.idiom:
            return
        if spec.mask == "buffer":
            for task in range(spec.tasks):
                self.register_buffer(f"mask{task}", torch.zeros(out.width))
        else:
            self.alpha = nn.ParameterList(torch.zeros(out.width) for _ in spec.heads)
        self.mix = Mixer(spec.mix, out, spec.tasks)

    @property
    def gates(self) -> list[Tensor]:
        """What each task's mask is got from: the logits, or the masks themselves."""
        if self.mask != "buffer":
            return list(self.alpha)
        return [getattr(self, f"mask{task}") for task in range(len(self.branches))]

    def forward(self, psi: list[Tensor], phis: list[list[Tensor]]) -> tuple[Tensor, list[Tensor]]:
        """The shared value and each task's value, after gate and mix."""
        if self.idiom == "weight_mask":
            chosen = [self._masked(task, psi, phi) for task, phi in enumerate(phis)]
            return self.mix(chosen), chosen
        shared: Tensor = self.shared(*psi)
        own = [branch(*phi) for branch, phi in zip(self.branches, phis, strict=True)]
        if not self.idiom:
            return shared, own
        chosen = [
            select(self.idiom, gate, value, shared, self.out, self.mask)
            for gate, value in zip(self.gates, own, strict=True)
        ]
        return self.mix(chosen), chosen

    def _masked(self, task: int, psi: list[Tensor], phi: list[Tensor]) -> Tensor:
        shared, branch = self.shared, self.branches[task]
        assert isinstance(shared, Layer)
        assert isinstance(branch, Layer)
        gate = self.gates[task]
        mask = mask_of(self.mask, gate).to(gate.dtype)
        value: Tensor = branch(phi[0], mask) + shared(psi[0], 1.0 - mask)
        return value


class GatedNetwork(nn.Module):
    """The network of a spec. It takes one input and returns one tensor per task."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        shapes = shapes_of(spec)
        self.spec, self.returns = spec, spec.returns
        made: list[GatedNode] = []
        for node, shape in zip(spec.nodes, shapes[1:], strict=True):
            like = made[node.like - 1] if node.like else None
            made.append(GatedNode(node, [shapes[i] for i in node.reads], shape, spec, like))
        self.nodes = nn.ModuleList(made)
        self.heads = nn.ModuleList(
            HEADS[head.op].make([shapes[i] for i in head.reads], head.width) for head in spec.heads
        )
        self.head_reads = [head.reads for head in spec.heads]

    def extra_repr(self) -> str:
        """The spec, so that a printed network can be rebuilt."""
        return repr(self.spec)

    def forward(self, x: Tensor) -> Any:
        shared, own = [x], [[x] for _ in self.heads]
        for node in self.nodes:
            assert isinstance(node, GatedNode)
            psi, phis = node(
                [shared[i] for i in node.reads], [[v[i] for i in node.reads] for v in own]
            )
            shared.append(psi)
            for values, phi in zip(own, phis, strict=True):
                values.append(phi)
        outs = [
            head(*[values[i] for i in reads])
            for head, reads, values in zip(self.heads, self.head_reads, own, strict=True)
        ]
        return arrange(outs, self.returns)


def arrange(outs: list[Tensor], returns: str) -> Any:
    """The outputs in the pytree of that name (`RETURNS`)."""
    if returns == "single" and len(outs) == 1:
        return outs[0]
    if returns == "list":
        return outs
    if returns == "dict":
        return {f"task{i}": out for i, out in enumerate(outs)}
    if returns == "nested":
        return {"last": outs[-1], "rest": [(out,) for out in outs[:-1]]}
    return tuple(outs)


def build(spec: Spec) -> tuple[GatedNetwork, tuple[Tensor]]:
    """The gated network in evaluation mode (float32) and example inputs of batch 2."""
    with torch.random.fork_rng(devices=[]):
        net = GatedNetwork(spec)
    generator = torch.Generator().manual_seed(spec.seed)
    randomise(net.modules(), generator)
    generator.manual_seed(spec.seed + 1)  # gates do not depend on how many weights were drawn
    gated = [n for n in net.nodes if isinstance(n, GatedNode) and n.idiom]
    opened = open_gates(
        spec.pattern, spec.share, [n.out.width for n in gated], spec.tasks, generator
    )
    with torch.no_grad():
        for node, rows in zip(gated, opened, strict=True):
            node.mix.set_weights(torch.randn(node.out.width, spec.tasks, generator=generator))
            for gate, row in zip(node.gates, rows, strict=True):
                alpha = logits(row, spec.pattern, generator)
                gate.copy_(alpha > 0 if spec.mask == "buffer" else alpha)
        _special_weights(net, spec.weights, generator)
    return net.eval(), (_example(spec, generator),)


def _example(spec: Spec, generator: torch.Generator) -> Tensor:
    if spec.kind == "ids":
        return torch.arange(2 * EDGE["ids"]).view(2, -1) % VOCABULARY
    return torch.randn(2, *input_shape(spec), generator=generator)


def input_shape(spec: Spec) -> tuple[int, ...]:
    """The input's shape without the batch."""
    shape = shapes_of(spec)[0]
    return {
        "ids": (shape.edge,),
        "volume": (shape.width, shape.edge, shape.edge, shape.edge),
        "image": (shape.width, shape.edge, shape.edge),
        "signal": (shape.width, shape.edge),
        "tokens": (shape.edge, shape.width),
        "vector": (shape.width,),
    }[shape.kind]


def randomise(modules: Iterable[nn.Module], generator: torch.Generator) -> None:
    """Draws every parameter and statistic anew: no two branches agree, nothing is 0 or 1."""

    def normal(t: Tensor, scale: float, mean: float = 0.0) -> None:
        t.copy_(mean + scale * torch.randn(t.shape, generator=generator))

    with torch.no_grad():
        for module in modules:
            for name, p in module.named_parameters(recurse=False):
                if p.ndim >= 2:
                    fan = p[0].numel() if p.shape[1] > 1 or p.ndim == 2 else p[0, 0].numel()
                    normal(p, 1.2 * fan**-0.5)
                elif name == "weight":  # the scale of a norm
                    sign = torch.where(torch.rand(p.shape, generator=generator) < 0.3, -1.0, 1.0)
                    p.copy_(sign * (0.6 + torch.rand(p.shape, generator=generator)))
                else:
                    normal(p, 0.4)
            if isinstance(module, BATCH_NORMS):
                assert module.running_mean is not None
                assert module.running_var is not None
                normal(module.running_mean, 0.3)
                variance = 0.5 + 1.5 * torch.rand(module.num_features, generator=generator)
                module.running_var.copy_(variance)


def _special_weights(net: GatedNetwork, kind: str, generator: torch.Generator) -> None:
    if kind == "twins":
        for node in net.nodes:
            assert isinstance(node, GatedNode)
            node.branches[0].load_state_dict(node.shared.state_dict())
    if kind == "tied":
        _tie(net)
    if kind not in ("zeros", "denormal"):
        return
    for name, p in net.named_parameters():
        if "alpha" in name or "beta" in name:
            continue
        rows = torch.rand(p.shape[0], generator=generator) < 0.3
        elements = torch.rand(p.shape, generator=generator) < 0.2
        p[elements] = 0.0
        if kind == "zeros":
            p[rows] = 0.0
        else:
            p[rows] *= 1e-41


def _tie(net: GatedNetwork) -> None:
    """Every second branch gets the very tensors of the shared one, and layers those before them."""
    seen: dict[tuple[type, torch.Size], nn.Parameter] = {}
    for node in net.nodes:
        assert isinstance(node, GatedNode)
        for branch in list(node.branches)[::2]:
            for name, p in dict(node.shared.named_parameters()).items():
                owner, _, short = name.rpartition(".")
                setattr(branch.get_submodule(owner), short, p)
        for module in node.shared.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter):
                module.weight = seen.setdefault((type(module), weight.shape), weight)


__all__ = ["GatedNetwork", "GatedNode", "Head", "Node", "Spec", "arrange", "build", "input_shape"]
