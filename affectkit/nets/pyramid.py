"""The network of the temporal pyramid. Imports torch: import this module inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from affectkit.nets.layers import EncoderLayer, Masked, MeanPool, Stack

if TYPE_CHECKING:
    from affectkit.heads.pyramid import Options


class Scales(Masked):
    """One encoder over S sequences of L steps that stand one after another: x [B,S*L,D] -> logits [B,1,K], summed over
    the scales.

    What is read of a sequence is the mean over its steps; with `centred`, which is for scores of a row, that of the
    scale clip only, and of the others the step at the place that the window is about.
    """

    def __init__(self, inputs: int, outputs: int, options: Options, centred: bool) -> None:
        super().__init__()
        self.shape = (len(options.scales), options.steps)
        self.centred = [centred and scale != "clip" for scale in options.scales]
        chosen = options.projection(inputs)
        width = chosen or inputs
        self.encoder = Stack(
            nn.Linear(inputs, width) if chosen else nn.Identity(),
            *(EncoderLayer(width, options.heads, width, options.encoder_dropout) for _ in range(options.layers)),
        )
        self.pool = MeanPool()
        self.joint = nn.Sequential(nn.Linear(width, options.joint), nn.ReLU(), nn.Dropout(options.dropout))
        self.outputs = nn.ModuleList(
            nn.Linear(options.joint, outputs) for _ in range(1 if options.output_layer == "shared" else self.shape[0])
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
