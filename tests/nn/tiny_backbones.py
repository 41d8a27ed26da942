"""Small backbones that the tests gate, and what every test does with a gated network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.nn import GatedNetwork, gate
from igc.nn.wrappers import unwrapped


class Two(nn.Module):
    """Two convolutions; how they are called is the test's."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)


class Block(nn.Module):
    """A residual block, written in place like torchvision's."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.down is None else self.down(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Residual(nn.Module):
    """Stem, two blocks, pool and flatten: [B, 3, H, W] -> [B, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = nn.Sequential(Block(4, 4))
        self.layer2 = nn.Sequential(Block(4, 6, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.stem(x))))
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


class Pyramid(nn.Module):
    """Three scales joined top down; returns them as a list, or as a dict."""

    def __init__(self, as_dict: bool = False) -> None:
        super().__init__()
        self.as_dict = as_dict
        self.low = nn.Conv2d(3, 4, 3, 1, 1)
        self.high = nn.Conv2d(4, 5, 3, 2, 1)
        self.lateral = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> list[Tensor] | dict[str, Tensor]:
        low = torch.relu(self.low(x))
        high = torch.relu(self.high(low))
        top = F.interpolate(high, scale_factor=2.0, mode="nearest")
        fused = self.lateral(low) * top
        return {"fine": fused, "coarse": high} if self.as_dict else [fused, high]


class TinyViT(nn.Module):
    """Patches, class token, position embedding, one block of attention and MLP: [B, N, C]."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def split(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        return x.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        y = self.norm1(x)
        q, k, v = self.split(self.q(y)), self.split(self.k(y)), self.split(self.v(y))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(y)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


VIT_LAYERS = ["q", "k", "v", "proj", "fc1", "fc2"]


class Read(nn.Module):
    """A head that returns its features as they are, whatever their structure."""

    def forward(self, features: object) -> object:
        return features


def heads(tasks: str) -> dict[str, nn.Module]:
    return {task: Read() for task in tasks}


def scrambled(net: GatedNetwork) -> GatedNetwork:
    """Makes every branch, gate, mix and statistic its own random self, in float64 and eval mode."""
    net.double().eval()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point():
                value.copy_(torch.randn_like(value))
    return net


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Float64 results, 1e-10 of the largest value apart at most."""
    assert actual.dtype == expected.dtype == torch.float64
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-10 * expected.abs().max()


def trains_as_before(
    backbone: nn.Module, x: Tensor | None = None, *, at: object = "layer", **options: object
) -> list[str]:
    """Asserts that a fresh gated network has the outputs and the gradients of `backbone`.

    In float64, in the backbone's mode, with all gates open and closed. While all branches are
    copies, the network is the backbone as a function of the weights that they have in common: the
    branches' gradients add up to the backbone's. Returns the names of the weights that have one.
    """
    x = torch.randn(2, 3, 4, 4) if x is None else x
    x, backbone = x.double(), backbone.double()
    backbone.zero_grad()
    torch.manual_seed(0)
    expected = tensors_in(backbone(x))
    torch.stack([y.sin().sum() for y in expected]).sum().backward()
    inside = unwrapped(backbone)
    for init in (1.0, -1.0):
        net = gate(backbone, heads("t"), at=at, init=init, **options)  # type: ignore[arg-type]
        net.double().train(backbone.training)
        torch.manual_seed(0)
        actual = tensors_in(net(x)["t"])
        torch.stack([y.sin().sum() for y in actual]).sum().backward()
        for one, other in zip(actual, expected, strict=True):
            assert_close(one, other)
        grads: dict[str, Tensor] = {}
        for branch in net.branches.values():
            for name, parameter in branch.named_parameters():
                if parameter.grad is not None:
                    grads[name] = grads.get(name, 0) + parameter.grad
        expected_grads = {n: p.grad for n, p in inside.named_parameters() if p.grad is not None}
        assert sorted(grads) == sorted(expected_grads)
        for name, grad in grads.items():
            torch.testing.assert_close(grad, expected_grads[name], rtol=1e-9, atol=1e-9)
    return [name for name, parameter in inside.named_parameters() if parameter.grad is not None]


def unused_parameters(net: GatedNetwork, *inputs: Tensor) -> list[str]:
    """Returns the parameters that one backward pass over all heads in training does not reach."""
    net.train()
    outputs = net(*inputs)
    tensors = [value for output in outputs.values() for value in tensors_in(output)]
    torch.stack([value.sum() for value in tensors]).sum().backward()
    return [name for name, parameter in net.named_parameters() if parameter.grad is None]


def tensors_in(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    return [tensor for value in values for tensor in tensors_in(value)]
