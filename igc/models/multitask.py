"""Static multi-task networks over any encoder: one shared, one per task, or branching half-way.

All return a dict from task to output, in the order of ``heads``. The encoders that exchange
features between tasks have files of their own: ``cross_stitch``, ``nddr`` and ``mtan``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from igc.errors import BadInput
from igc.models.resnet import ResNet


class UniformSharing(nn.Module):
    """One encoder for all tasks, one head per task: the usual hard parameter sharing."""

    def __init__(self, encoder: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.encoder(x)
        return {task: head(features) for task, head in self.heads.items()}


class SingleTaskNetworks(nn.Module):
    """One encoder and one head per task: nothing is shared. Raises ``BadInput`` on other keys."""

    def __init__(self, encoders: Mapping[str, nn.Module], heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        check_tasks(encoders, heads)
        self.encoders = nn.ModuleDict(encoders)
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {task: head(self.encoders[task](x)) for task, head in self.heads.items()}


class Branched(nn.Module):
    """A trunk for all tasks, then branches for groups of tasks, then one head per task.

    ``branch_of`` names the branch of every task; tasks of the same branch share its features.

    Source: Vandenhende et al., "Branched multi-task networks" (2020), with one branching point.
    """

    def __init__(
        self,
        trunk: nn.Module,
        branches: Mapping[str, nn.Module],
        branch_of: Mapping[str, str],
        heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        check_tasks(branch_of, heads)
        unknown = set(branch_of.values()).symmetric_difference(branches)
        if unknown:
            raise BadInput(f"Branched: branches {sorted(unknown)} are not both given and used")
        self.trunk = trunk
        self.branches = nn.ModuleDict(branches)
        self.branch_of = dict(branch_of)
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        trunk = self.trunk(x)
        features = {name: branch(trunk) for name, branch in self.branches.items()}
        return {task: head(features[self.branch_of[task]]) for task, head in self.heads.items()}


def split_after(encoder: ResNet, stages: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The first stages of an encoder and the remaining ones, as a trunk and a branch."""
    parts = encoder.stages()
    trunk = [module for stage in parts[:stages] for module in stage]
    branch = [module for stage in parts[stages:] for module in stage]
    return nn.Sequential(*trunk), nn.Sequential(*branch)


def check_tasks(encoders: Iterable[str], heads: Iterable[str]) -> None:
    """Raises ``BadInput`` unless both name the same tasks."""
    odd = set(encoders).symmetric_difference(heads)
    if odd:
        raise BadInput(
            f"tasks {sorted(odd)} have an encoder or a head, but not both: name the same"
        )
