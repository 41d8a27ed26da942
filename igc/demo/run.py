"""What `igc demo` does: deliver the gated network as `igc compile` does, and let it predict."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

import igc
from igc.demo.learn import Logits, score
from igc.demo.people import TASKS, People, load, majority
from igc.errors import CheckFailed
from igc.reports import Report
from igc.verification.result import Check

SHOWN = 8  # pictures


@dataclass(frozen=True)
class Prediction:
    """One held-out picture: its Unicode sequence and short name, true and predicted labels."""

    code: str
    name: str
    truth: dict[str, str]
    predicted: dict[str, str]


@dataclass(frozen=True)
class Demo:
    """All that the demo found out; shares are 0 to 1 and on the whole held-out set.

    `accuracy[network][task]`, the networks being "majority", "gated" (in torch) and "compiled"
    (the ONNX file in onnxruntime); `differing` counts the labels, of `held_out` pictures times
    the tasks, on which gated and compiled differ.
    """

    checkpoint: str
    onnx: Path
    html: Path
    check: Check
    report: Report
    predictions: tuple[Prediction, ...]
    accuracy: dict[str, dict[str, float]]
    held_out: int
    differing: int

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {
            "checkpoint": self.checkpoint,
            "onnx": str(self.onnx),
            "check": self.check.to_dict(),
            "report": self.report.to_dict(),
            "predictions": [vars(prediction) for prediction in self.predictions],
            "accuracy": self.accuracy,
            "held_out": self.held_out,
            "differing": self.differing,
        }


def run(out_dir: Path, checkpoint: Path | None = None) -> Demo:
    """Delivers a gated network of the demo to `out_dir`/demo.onnx and tries it; takes seconds.

    The cost report is `out_dir`/report.html. `checkpoint` is one that `igc.demo.train.train` wrote,
    by default the shipped one. Raises `CheckFailed` where the file is not the same function:
    nothing is written then. The pictures to show are taken at even steps through the held-out set,
    not chosen by how well they do.
    """
    onnx, html = out_dir / "demo.onnx", out_dir / "report.html"
    _, held_out = load()
    with ExitStack() as stack:
        if checkpoint is None:
            shipped = resources.files("igc.demo") / "data" / "gated.pt"
            checkpoint = stack.enter_context(resources.as_file(shipped))
        gated = igc.load(checkpoint).eval()
        made = igc.deliver(checkpoint, onnx, report=html)
    if made.report is None:
        raise CheckFailed(made.failure)
    with torch.no_grad():
        before: Logits = gated(held_out.inputs)
    after = predict(onnx, held_out.inputs)
    shown = torch.linspace(0, len(held_out) - 1, SHOWN).long().tolist()
    return Demo(
        checkpoint=checkpoint.name,
        onnx=onnx,
        html=html,
        check=replace(made.checks["onnx"], reference=checkpoint.name),
        report=made.report,
        predictions=tuple(_prediction(held_out, after, i) for i in shown),
        accuracy={
            "majority": majority(held_out),
            "gated": score(before, held_out),
            "compiled": score(after, held_out),
        },
        held_out=len(held_out),
        differing=sum(int((before[t].argmax(1) != after[t].argmax(1)).sum()) for t in TASKS),
    )


def predict(onnx: Path, inputs: Tensor) -> Logits:
    """Returns the logits per task that the ONNX file gives in onnxruntime for (N, 3, 32, 32)."""
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {session.get_inputs()[0].name: inputs.numpy()})
    return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}


def _prediction(people: People, logits: Logits, i: int) -> Prediction:
    return Prediction(
        code=people.codes[i],
        name=people.names[i],
        truth={task: names[int(people.labels[task][i])] for task, names in TASKS.items()},
        predicted={task: names[int(logits[task][i].argmax())] for task, names in TASKS.items()},
    )
