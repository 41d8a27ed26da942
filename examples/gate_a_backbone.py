"""A backbone of your own, gated for two tasks, trained, saved, compiled and written as ONNX."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import igc

stage1 = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU())
stage2 = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU())
backbone = nn.Sequential(stage1, stage2, nn.AdaptiveAvgPool2d(1), nn.Flatten())
net = igc.gate(backbone, heads={"kind": nn.Linear(32, 5), "colour": nn.Linear(32, 3)}, at="layer")
groups = [{"params": net.weight_parameters(), "lr": 0.01}, {"params": net.gate_parameters()}]
optimiser = torch.optim.SGD(groups, lr=0.1)  # gates learn faster than weights
for _ in range(3):  # in earnest: epochs over your data
    x, kind, colour = torch.randn(8, 3, 32, 32), torch.randint(5, (8,)), torch.randint(3, (8,))
    found = net(x)
    loss = cross_entropy(found["kind"], kind) + cross_entropy(found["colour"], colour)
    loss = loss + igc.sparsity_loss(net, targets={"kind": 0.3, "colour": 0.3})
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

igc.save(net.eval(), "gated.pt", (x[:1],))  # a graph and tensors, no code
igc.export_onnx(igc.compile("gated.pt"), "model.onnx")
print(igc.inspect(net))
print(igc.verify("gated.pt", "model.onnx"))
