"""`rebuild`: compiles a checkpoint anew, and compares every byte with the model that is given.

What it rests on is the compiler itself, and nothing of the model: a file that comes out the same
is what this igc makes of this checkpoint. That this is right is for the audit to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from igc.capture import Example
from igc.certificate.company import MAX_FILES
from igc.certificate.manifest import seal, written
from igc.certificate.tools import installed
from igc.errors import BadInput, CheckFailed, IgcError
from igc.rebuild.differences import of_data, of_messages
from igc.rebuild.files import Given, Made, given, made
from igc.rebuild.told import Told, told

HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Rebuilt:
    """The outcome. `differences` is empty where every byte is the same.

    `tools` are those whose versions are not the ones at hand: the version that the files name, and
    the one here. `options` are those of the compilation that are not as by default.
    """

    model: str
    differences: list[str]
    outputs: list[str]
    options: dict[str, Any]
    manifest: bool
    tools: dict[str, tuple[str, str]] = field(default_factory=dict)
    comparable: bool = True

    @property
    def passed(self) -> bool:
        """Whether the files are the ones that igc writes."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"passed": self.passed, **vars(self)}


def rebuild(
    model: Path, network: nn.Module, checkpoint: Path, inputs: Example | None = None
) -> Rebuilt:
    """Compiles `network`, read from the file `checkpoint`, and compares with `model`.

    The manifest beside it is compared where there is one. `inputs` are as in `igc.compile`. The
    options of the compilation are those that the model's metadata tells. Raises `BadInput` where
    a file cannot be read or the network cannot be compiled; what differs is told in the result.
    """
    found = given(model)
    how = told(found.model)
    try:
        try:
            new = made(network, checkpoint, inputs, how, found.name)
        except IgcError:
            if how == Told():
                raise
            new = made(network, checkpoint, inputs, Told(), found.name)
    except CheckFailed as error:
        raise BadInput(f"{model}: cannot be rebuilt: {error}") from error
    return compare(str(model), found, new)


def compare(name: str, given: Given, made: Made) -> Rebuilt:
    """What of the files that are given is not as made."""
    manifest = None if given.manifest is None else _data(given.manifest)
    end = _end(given, made, manifest)
    same = given.data == made.body + end
    whole = onnx.load_model_from_string(made.body + end)
    found = [] if same else list(of_messages(given.model, whole))
    if not same and not found:
        found = ["the file: the same message, encoded in another way"]
    found += _of_manifest(given, made, manifest)
    tools = _other_tools(given.model, manifest)
    return Rebuilt(
        model=name,
        differences=found,
        outputs=[o.name for o in whole.graph.output],
        options=made.told.options(),
        manifest=given.manifest is not None,
        tools=tools,
        comparable=not tools or given.data.startswith(made.body),
    )


def _end(given: Given, made: Made, manifest: Any) -> bytes:
    """What the model has to end with: the entry that names its manifest."""
    if made.manifest is None:
        return b""
    return seal(written(_expected(made, manifest)) if given.manifest is None else given.manifest)


def _of_manifest(given: Given, made: Made, manifest: Any) -> Iterator[str]:
    if given.manifest is None:
        return
    if made.manifest is None:
        yield "manifest: igc writes none for a network that was converted"
        return
    expected = _expected(made, manifest)
    if given.manifest == written(expected):
        return
    found = False
    for line in of_data(manifest, expected, "manifest"):
        found = True
        yield line
    if not found:
        yield "manifest: the same content, written in another way"


def _expected(made: Made, manifest: Any) -> dict[str, Any]:
    """The manifest to find, given what the other says of the checkpoint and of its tools."""
    assert made.manifest is not None
    stated = manifest if isinstance(manifest, Mapping) else {}
    checkpoint = stated.get("checkpoint")
    right = checkpoint if checkpoint in made.checkpoints else made.checkpoints[0]
    return made.manifest | {
        "checkpoint": right, "tools": _tools(manifest) or installed(), "files": _files(stated),
    }  # fmt: skip


def _files(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the run's other files, which are not made anew; none where they are none."""
    found = manifest.get("files")
    if not isinstance(found, dict) or len(found) > MAX_FILES:
        return {}
    plain = all(isinstance(v, str) and HASH.fullmatch(v) for v in found.values())
    return found if plain else {}


def _tools(manifest: Any) -> dict[str, str]:
    """The versions that a manifest names; none where it is not one for each of the tools."""
    found = manifest.get("tools") if isinstance(manifest, Mapping) else None
    if not isinstance(found, dict) or found.keys() != installed().keys():
        return {}
    return found if all(isinstance(v, str) for v in found.values()) else {}


def _other_tools(model: onnx.ModelProto, manifest: Any) -> dict[str, tuple[str, str]]:
    """The tools that are not at hand in the version named; nothing where igc's is contradicted."""
    tools = _tools(manifest)
    told = {p.value for p in model.metadata_props if p.key == "igc.version"}
    told |= {model.producer_version, *([tools["igc"]] if tools else [])}
    if len(told) != 1:
        return {}
    here = installed()
    return {
        name: (version, here[name])
        for name, version in {**tools, "igc": str(told.pop())}.items()
        if version != here[name]
    }


def _data(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
