"""transformer: the temporal model of SUN (arXiv 2403.12609), version 3.

BatchNorm, three post-norm encoder layers of 8 heads whose feed-forward is as wide as the features, the sinusoidal
position added in every layer, and a linear output at each step (Tanh for valence and arousal). Clip-level tasks take
the mean over the valid steps first, which is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from affectkit.heads._options import TrainingOptions
from affectkit.heads._temporal import TemporalHead

if TYPE_CHECKING:
    from torch import nn


class Options(TrainingOptions):
    """Of the network; the others are shared."""

    layers: int = Field(3, ge=1, le=48, description="encoder layers")
    heads: int = Field(8, ge=1, le=128, description="attention heads")
    width: int | None = Field(
        None, ge=1, le=16_384, description="project the features to this width first (default: as they are)"
    )


class Transformer(TemporalHead):
    """Post-norm transformer encoder over windows of features."""

    Options = Options

    def network(self, inputs: int, outputs: int) -> nn.Module:
        from torch.nn import Identity, Linear

        from affectkit.heads import _layers as layers

        chosen: Options = self.options
        width = chosen.width or inputs
        return layers.Stack(
            Linear(inputs, width) if chosen.width else Identity(),
            layers.BatchNorm(width),
            *(layers.EncoderLayer(width, chosen.heads, width, chosen.dropout) for _ in range(chosen.layers)),
            layers.MeanPool() if self.task.level == "clip" else Identity(),
            Linear(width, outputs),
        )


PLUGIN = Transformer
