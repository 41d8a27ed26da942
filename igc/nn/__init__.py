"""What a training script imports: gates, mixes, gated conversion of a backbone, the loss.

    net = gate(backbone, heads={"seg": head, ...}, at="block")
    loss = task_loss + weight * sparsity_loss(net, targets={"seg": 0.5, ...})

`Gate` and `Mix` are the parts to build a gated network with by hand.
"""

from __future__ import annotations

from igc.nn.convert import gate
from igc.nn.gates import Gate
from igc.nn.loss import sparsity_loss
from igc.nn.mix import Mix
from igc.nn.network import GatedNetwork

__all__ = ["gate", "sparsity_loss", "Gate", "Mix", "GatedNetwork"]
