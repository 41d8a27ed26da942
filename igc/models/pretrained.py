"""Pretrained state dicts into encoders: the parts an encoder does not have are left out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igc.errors import BadCheckpoint, one_line
from igc.models.vit import ViT

#: First parts of the names of classifiers, in torchvision, timm and the HRNet repository.
CLASSIFIERS = frozenset(
    ("fc", "classifier", "head", "pre_logits", "incre_modules", "downsamp_modules", "final_layer")
)


def load_pretrained(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a torchvision, timm or HRNet state dict into one of igc's models, strictly.

    A classifier that the model does not have is left out, and a ViT's position embedding is
    resized to its grid; everything else must fit. Raises ``BadCheckpoint`` naming what does not.
    """
    own = {name.split(".")[0] for name in model.state_dict()}
    left_out = CLASSIFIERS - own
    wanted = {name: value for name, value in state.items() if name.split(".")[0] not in left_out}
    if isinstance(model, ViT) and "pos_embed" in wanted:
        wanted["pos_embed"] = resize_position(wanted["pos_embed"], model.grid)
    try:
        model.load_state_dict(wanted, strict=True)
    except RuntimeError as error:
        reason = one_line(error, 1000)
        raise BadCheckpoint(
            f"the state dict does not fit {type(model).__name__}: {reason}"
        ) from None


def resize_position(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """A position embedding (1, 1 + n^2, C) of a square grid, bicubically resized to another grid.

    The class token's entry, the first, stays. Returns (1, 1 + h w, C) for ``grid`` (h, w). Raises
    ``BadCheckpoint`` if the embedding is of no square grid and does not fit as it is.
    """
    count = embedding.shape[1] - 1
    if count == grid[0] * grid[1]:
        return embedding
    side = round(count**0.5)
    if side * side != count:
        raise BadCheckpoint(
            f"pos_embed has {count} patches, which form no square and are not the model's "
            f"{grid[0]} x {grid[1]}: resize it before loading"
        )
    patches = embedding[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(patches, size=grid, mode="bicubic", antialias=True)
    return torch.cat([embedding[:, :1], resized.flatten(2).transpose(1, 2)], 1)
