"""The demo's pictures and their three labels, split by concept.

1,479 Noto emoji of people, 32x32. They are drawings. Variants of one concept (firefighter,
surfer, ...) differ only in skin tone and presented gender, so the split is by concept and never
at random: 23 of 95 concepts are held out. `igc.demo.build_people` rebuilds the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from igc.demo.people_labels import GENDERS, KINDS, TONE_NAMES

# Label names per task, in the order of the class indices.
TASKS: dict[str, tuple[str, ...]] = {"gender": GENDERS, "tone": TONE_NAMES, "kind": KINDS}
SIDE = 32


@dataclass(frozen=True)
class People:
    """Pictures with labels; row i of every field describes picture i.

    `inputs` float32 (N, 3, 32, 32), normalised; `labels[task]` int64 (N,); `concepts` the concept
    of each picture; `codes` its Unicode sequence ("1F9D1-1F3FD-200D-1F692"); `names` its short
    name, which skin tones share.
    """

    inputs: Tensor
    labels: dict[str, Tensor]
    concepts: tuple[str, ...]
    codes: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def where(self, mask: Tensor) -> People:
        """Returns the rows where `mask`, bool (N,), is true."""
        rows = mask.nonzero().flatten()
        indices: list[int] = rows.tolist()
        return People(
            self.inputs[rows],
            {task: label[rows] for task, label in self.labels.items()},
            *(
                tuple(texts[i] for i in indices)
                for texts in (self.concepts, self.codes, self.names)
            ),
        )


def normalise(pictures: Tensor) -> Tensor:
    """Returns uint8 RGB pictures (N, H, W, 3) as network inputs (N, 3, H, W): (value - 128) / 64.

    The background, 128, becomes 0: padding with zeros continues it.
    """
    return ((pictures.to(torch.float32) - 128) / 64).permute(0, 3, 1, 2).contiguous()


@cache
def load() -> tuple[People, People]:
    """Returns (training, held-out) people: 1,121 and 358 pictures of 72 and 23 concepts."""
    path = resources.files("igc.demo") / "data" / "people.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        everyone = People(
            normalise(torch.from_numpy(arrays["pictures"])),
            {task: torch.from_numpy(arrays[task].astype(np.int64)) for task in TASKS},
            tuple(str(name) for name in arrays["concept_names"][arrays["concept"]]),
            tuple(map(str, arrays["codes"])),
            tuple(map(str, arrays["names"])),
        )
        out = torch.from_numpy(arrays["held_out"])
    return everyone.where(~out), everyone.where(out)


def majority(people: People) -> dict[str, float]:
    """Returns per task the accuracy (0 to 1) of always answering one class.

    It is the most frequent class of `people` itself: the best constant guess there is.
    """
    return {
        task: float(labels.bincount().max()) / len(people) for task, labels in people.labels.items()
    }
