"""The network of the temporal pyramid."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from affectkit.learning.pyramid import Layout
from affectkit.nets.layers import EncoderLayer, Masked, MeanPool, Stack


class Scales(Masked):
    """One encoder over S sequences of L steps that stand one after another: x [B,S*L,D] -> logits [B,1,K], summed over
    the scales.

    What is read of a sequence is the mean over its steps; with `centred`, which is for scores of a row, that of the
    scale clip only, and of the others the step at the place that the window is about.
    """

    def __init__(self, inputs: int, outputs: int, layout: Layout, centred: bool) -> None:
        super().__init__()
        self.shape = (len(layout.scales), layout.steps)
        self.centred = [centred and scale != "clip" for scale in layout.scales]
        chosen = layout.projection(inputs)
        width = chosen or inputs
        self.encoder = Stack(
            nn.Linear(inputs, width) if chosen else nn.Identity(),
            *(EncoderLayer(width, layout.heads, width, layout.encoder_dropout) for _ in range(layout.layers)),
        )
        self.pool = MeanPool()
        self.joint = nn.Sequential(nn.Linear(width, layout.joint), nn.ReLU(), nn.Dropout(layout.dropout))
        self.outputs = nn.ModuleList(
            nn.Linear(layout.joint, outputs) for _ in range(1 if layout.output_layer == "shared" else self.shape[0])
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.each(x, mask).sum(dim=1, keepdim=True)

    def each(self, x: Tensor, mask: Tensor) -> Tensor:
        """The logits of each scale [B,S,K]."""
        sequences, there = (part.unflatten(1, self.shape).flatten(0, 1) for part in (x, mask))
        states = self.encoder(sequences, there)  # [B*S,L,W]
        mean = self.pool(states, there).view(len(x), self.shape[0], -1)
        middle = states[:, self.shape[1] // 2].view_as(mean)
        pooled = torch.stack([(middle if own else mean)[:, scale] for scale, own in enumerate(self.centred)], dim=1)
        joint = self.joint(pooled)
        if len(self.outputs) == 1:
            return cast(Tensor, self.outputs[0](joint))
        return torch.stack([output(joint[:, scale]) for scale, output in enumerate(self.outputs)], dim=1)
